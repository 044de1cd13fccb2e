use std::path::Path;

use anyhow::{Context as _, Error};
use auto_update::{AutoUpdater, Change, Freshness as Checked, Store};
use chain_daemon::{EXTERNAL_WORKER, HIVE, LLAMACPP_WORKER, QUEEN, VLLM_WORKER};
use rbee_config::RbeeConfig;
use serde::Serialize;

use crate::failure::Failure;

/// A binary of the chain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binary {
    /// What `status` and `update` call it.
    pub(crate) level: &'static str,
    pub(crate) name: &'static str,
    pub(crate) source_dir: &'static str,
}

/// In the order of the chain.
pub(crate) const CHAIN: [Binary; 5] = [
    Binary { level: "xtask", name: "xtask", source_dir: "xtask" },
    Binary { level: "keeper", name: "rbee-keeper", source_dir: "bin/00_rbee_keeper" },
    daemon("queen", QUEEN),
    daemon("hive", HIVE),
    daemon("worker", LLAMACPP_WORKER),
];

/// Workers by other engines, which are built where a model needs them.
pub(crate) const ENGINE_WORKERS: [Binary; 2] =
    [daemon("worker", VLLM_WORKER), daemon("worker", EXTERNAL_WORKER)];

const fn daemon(level: &'static str, binary: chain_daemon::Binary) -> Binary {
    Binary { level, name: binary.name, source_dir: binary.source_dir }
}

/// Whether a binary is what its sources say now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) level: &'static str,
    pub(crate) binary: &'static str,
    pub(crate) freshness: Freshness,
    /// What changed, or why nobody knows; empty when fresh.
    pub(crate) reasons: Vec<String>,
    /// The BLAKE3 of the binary that was built last, in hex.
    pub(crate) exe_hash: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Freshness {
    Fresh,
    Stale,
    /// Cargo has to be asked.
    Unknown,
}

impl Freshness {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// A verdict for each of `binaries`; none when there are no sources or auto-update is off.
///
/// Builds nothing and asks nobody; reads the file system on a thread of its own.
pub(crate) async fn verdicts(
    config: &RbeeConfig,
    binaries: &'static [Binary],
) -> Result<Vec<Verdict>, Failure> {
    let of = |(binary, checked)| Verdict::of(binary, checked);
    Ok(checked(config, binaries).await?.into_iter().map(of).collect())
}

/// The same for those of [`ENGINE_WORKERS`] that have been built.
pub(crate) async fn engine_verdicts(config: &RbeeConfig) -> Result<Vec<Verdict>, Failure> {
    let mut all = checked(config, &ENGINE_WORKERS).await?;
    all.retain(|(_, checked)| match checked {
        Ok(Checked::Stale(reasons)) => {
            reasons.iter().all(|reason| reason.change != Change::NeverBuilt)
        }
        _ => true,
    });
    Ok(all.into_iter().map(|(binary, checked)| Verdict::of(binary, checked)).collect())
}

/// Whether the worker was never built here, which is the last of the chain to be.
pub(crate) fn is_first_run(config: &RbeeConfig) -> bool {
    let Some(root) = config.build_root() else { return false };
    let worker = AutoUpdater::new(LLAMACPP_WORKER.name, root.join(LLAMACPP_WORKER.source_dir));
    let last = worker.and_then(|worker| worker.profile(&config.auto_update.profile).last_good());
    matches!(last, Ok(None))
}

type Look = (&'static Binary, Result<Checked, auto_update::Error>);

async fn checked(config: &RbeeConfig, binaries: &'static [Binary]) -> Result<Vec<Look>, Failure> {
    let Some(root) = config.build_root().map(Path::to_owned) else { return Ok(Vec::new()) };
    let profile = config.auto_update.profile.clone();
    let check =
        move || binaries.iter().map(|binary| (binary, check(&root, &profile, binary))).collect();
    let looked = tokio::task::spawn_blocking(check).await;
    Ok(looked.context("the thread that checks for freshness died")?)
}

/// Where the built binaries of all levels are kept; they share one target directory.
pub(crate) fn store(root: &Path) -> Result<Store, auto_update::Error> {
    let [first, ..] = &CHAIN;
    AutoUpdater::new(first.name, root.join(first.source_dir))?.store()
}

fn check(root: &Path, profile: &str, binary: &Binary) -> Result<Checked, auto_update::Error> {
    AutoUpdater::new(binary.name, root.join(binary.source_dir))
        .and_then(|updater| updater.profile(profile).check())
}

impl Verdict {
    pub(crate) fn of(binary: &Binary, checked: Result<Checked, auto_update::Error>) -> Self {
        let (freshness, reasons, exe_hash) = match checked {
            Ok(Checked::Fresh(artifact)) => {
                (Freshness::Fresh, Vec::new(), Some(artifact.hash.to_string()))
            }
            Ok(Checked::Stale(reasons)) => {
                (Freshness::Stale, reasons.iter().map(ToString::to_string).collect(), None)
            }
            Ok(Checked::Unknown(doubt)) => (Freshness::Unknown, vec![doubt.to_string()], None),
            Err(error) => (Freshness::Unknown, vec![format!("{:#}", Error::from(error))], None),
        };
        Self { level: binary.level, binary: binary.name, freshness, reasons, exe_hash }
    }
}
