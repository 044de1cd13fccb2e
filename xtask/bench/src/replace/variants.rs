use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use auto_update::{AutoUpdater, BuildEnvironment};
use chain_tests::Chain;

/// More than all variants take, so that none is removed before its turn.
const STORE_LIMIT: u64 = 64 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Queen,
    Hive,
}

impl Level {
    fn binary(self) -> &'static str {
        match self {
            Self::Queen => "queen-rbee",
            Self::Hive => "rbee-hive",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Queen => "bin/10_queen_rbee",
            Self::Hive => "bin/20_rbee_hive",
        }
    }

    /// What the binary logs when it answers; part of its `main.rs` and of nothing else.
    fn constant(self) -> &'static str {
        match self {
            Self::Queen => "queen is ready",
            Self::Hive => "hive is ready",
        }
    }
}

/// Sources of one daemon that differ in a constant, each built: bringing one of them back costs a
/// look into the artifact store, and no build.
#[derive(Debug)]
pub(super) struct Variants {
    main: PathBuf,
    sources: Vec<String>,
    hashes: Vec<String>,
}

impl Variants {
    /// Builds so many of them while the chain does not run. What was built is kept in `folder` and
    /// remembered the next time.
    pub(super) fn build(
        chain: &Chain,
        folder: &Path,
        level: Level,
        count: u16,
    ) -> anyhow::Result<Self> {
        let updater = AutoUpdater::new(level.binary(), chain.checkout().path(level.folder()))?
            .environment(environment(chain))
            .store_limit(STORE_LIMIT);
        updater.ensure_built_with(|_| {})?;
        // Only the last builds are remembered: the others' receipts wait here.
        let receipts = folder.join("receipts").join(level.binary());
        let remembered = remembered(chain, level)?;
        copy_all(&receipts, &remembered)?;
        let main = chain.checkout().path(level.folder()).join("src/main.rs");
        let original = fs::read_to_string(&main).context("the copy cannot be read")?;
        let constant = level.constant();
        ensure!(original.contains(constant), "`{constant}` is not in {}", main.display());
        let (mut sources, mut hashes) = (Vec::new(), Vec::new());
        for number in 0..count {
            sources.push(original.replace(constant, &format!("{constant}, variant {number}")));
            fs::write(&main, &sources[usize::from(number)])?;
            let built = updater.ensure_built_with(|_| {})?;
            hashes.push(built.hash.to_string());
            copy_all(&remembered, &receipts)?;
            eprint!("\rreplace: {} of {count} variants of {}", number + 1, level.binary());
        }
        eprintln!();
        copy_all(&receipts, &remembered)?;
        fs::write(&main, original)?;
        let mut distinct = hashes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        ensure!(distinct.len() == hashes.len(), "two variants are the same binary");
        Ok(Self { main, sources, hashes })
    }

    /// Makes the sources those of the variant, and says which hash is to answer then.
    pub(super) fn install(&self, number: usize) -> anyhow::Result<&str> {
        let (source, hash) = (self.sources.get(number), self.hashes.get(number));
        let (source, hash) = source.zip(hash).context("there are not so many variants")?;
        fs::write(&self.main, source).context("the copy cannot be written")?;
        Ok(hash)
    }
}

/// What the chain's own processes build under.
fn environment(chain: &Chain) -> BuildEnvironment {
    let mut command = Command::new("true");
    chain.environment(&mut command);
    let set = command.get_envs().filter_map(|(name, value)| Some((name.into(), value?.into())));
    BuildEnvironment::from_vars(set)
}

/// Where auto-update keeps the receipts of the daemon's earlier builds.
fn remembered(chain: &Chain, level: Level) -> anyhow::Result<PathBuf> {
    let receipts = chain.target().join(".auto-update/receipts");
    let of_level = format!("{}-", level.binary());
    let entries = fs::read_dir(&receipts).context("nothing was built")?.flatten();
    let mut of_level = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&of_level))
        .map(|entry| entry.path());
    match (of_level.next(), of_level.next()) {
        (Some(only), None) => Ok(only.join("earlier")),
        _ => anyhow::bail!("not one way of building it in {}", receipts.display()),
    }
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).context("cannot keep receipts")?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries.flatten() {
        let target = to.join(entry.file_name());
        if !target.exists() {
            fs::copy(entry.path(), target).context("cannot keep receipts")?;
        }
    }
    Ok(())
}
