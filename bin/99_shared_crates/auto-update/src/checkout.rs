//! Whether git is in the middle of changing the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What git keeps in its folder while it has begun something and not ended it.
const UNDER_WAY: [(&str, &str); 6] = [
    ("index.lock", "writing the checkout"),
    ("rebase-merge", "in the middle of a rebase"),
    ("rebase-apply", "in the middle of a rebase"),
    ("MERGE_HEAD", "in the middle of a merge"),
    ("CHERRY_PICK_HEAD", "in the middle of a cherry-pick"),
    ("REVERT_HEAD", "in the middle of a revert"),
];

/// What git is in the middle of in the checkout around `dir`, in words; `None` where it is not.
///
/// Its files may be of no version that anybody wrote. A bisection counts only while files of the
/// checkout are changed: what it has checked out is there to be built. Starts git for that, and
/// nothing otherwise.
pub fn git_is_busy_in(dir: impl AsRef<Path>) -> Option<&'static str> {
    let dir = dir.as_ref();
    let git = dir.ancestors().find_map(git_dir)?;
    let under_way = UNDER_WAY.iter().find(|(name, _)| git.join(name).exists());
    under_way.map(|(_, what)| *what).or_else(|| {
        let bisects = git.join("BISECT_LOG").exists() && is_changed(dir);
        bisects.then_some("in the middle of a bisection, with changed files")
    })
}

/// Of the checkout whose root `dir` is; a worktree has its own elsewhere.
fn git_dir(dir: &Path) -> Option<PathBuf> {
    let git = dir.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(&git).ok()?;
    text.strip_prefix("gitdir:").map(|path| dir.join(path.trim()))
}

fn is_changed(dir: &Path) -> bool {
    let mut status = Command::new("git");
    status.args(["status", "--porcelain", "--untracked-files=no"]).current_dir(dir);
    // It would take the lock that is looked for.
    status.env("GIT_OPTIONAL_LOCKS", "0").stdin(Stdio::null()).stderr(Stdio::null());
    status.output().is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
}
