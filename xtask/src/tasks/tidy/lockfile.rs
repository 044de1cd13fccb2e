use crate::tasks::tidy::{Tree, Violation};

/// The packages that `Cargo.lock` may hold, those for other systems included. Whoever needs more
/// raises it in the commit that says what the new ones are for.
const MOST_PACKAGES: usize = 412;

pub(super) fn check(tree: &Tree) -> anyhow::Result<Option<Violation>> {
    const LOCKFILE: &str = "Cargo.lock";
    let lock: toml::Table = tree.text(LOCKFILE)?.parse()?;
    let packages = lock.get("package").and_then(|packages| packages.as_array()).map_or(0, Vec::len);
    Ok((packages > MOST_PACKAGES).then(|| {
        let message = format!(
            "{packages} packages, more than the {MOST_PACKAGES} of xtask/src/tasks/tidy/lockfile.rs"
        );
        Violation::new(LOCKFILE, message)
    }))
}
