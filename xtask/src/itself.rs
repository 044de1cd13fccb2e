use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::{
        fs::{MetadataExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{self, Command},
};

use anyhow::Context as _;

use crate::{Workspace, tasks::setup::TOOLS, update::Binary};

const XTASK: Binary<'_> = Binary { name: "xtask", sources: "xtask", profile: "dev" };

/// The first argument of an xtask that a stale one was replaced by. Arguments, unlike the
/// environment, do not reach the keeper and its daemons.
const REPLACEMENT: &str = "--replaces-a-stale-xtask";

/// Whether this process was started by the script, or by an xtask in its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    First,
    Replacement,
}

/// Takes the mark of a replacement off the arguments.
pub(crate) fn take_generation(args: &mut Vec<OsString>) -> Generation {
    if args.first().is_some_and(|arg| arg == REPLACEMENT) {
        args.remove(0);
        Generation::Replacement
    } else {
        Generation::First
    }
}

/// Returns if this process is what xtask's sources say; else builds that and becomes it.
///
/// A replacement does not replace itself again: who edits xtask faster than it is built gets what
/// was built last.
pub(crate) fn make_fresh(
    workspace: &Workspace,
    args: &[OsString],
    generation: Generation,
) -> anyhow::Result<()> {
    let Some(policy) = workspace.build_policy() else { return Ok(()) };
    if generation == Generation::Replacement {
        return Ok(());
    }
    let root = workspace.root();
    let fresh = XTASK.fresh(root, policy)?;
    if is_this(&fresh)? {
        return Ok(());
    }
    // The next start takes no detour then; where this cannot be written, it takes it again.
    point_script_at(root, &fresh).unwrap_or(());
    let error = Command::new(&fresh).arg(REPLACEMENT).args(args).exec();
    Err(error).with_context(|| format!("cannot start `{}`", fresh.display()))
}

/// Whether the file is the one that this process runs, and not one that took its place since.
fn is_this(path: &Path) -> anyhow::Result<bool> {
    let id = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let fresh = id(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    // On Linux a name that was replaced under a running process is marked, and so not found.
    let own = env::current_exe().and_then(|own| id(&own));
    Ok(own.is_ok_and(|own| own == fresh))
}

/// Lets the link that the script `rbee` starts name `xtask`; relative as the script makes it.
fn point_script_at(root: &Path, xtask: &Path) -> io::Result<()> {
    let tools = root.join(TOOLS);
    fs::create_dir_all(&tools)?;
    let target = xtask
        .strip_prefix(root)
        .map_or_else(|_| xtask.to_owned(), |path| Path::new("..").join(path));
    let draft = tools.join(format!("xtask.{}", process::id()));
    symlink(target, &draft)?;
    fs::rename(draft, tools.join("xtask"))
}
