use std::{fs, path::Path, process::Command};

use auto_update::git_is_busy_in;

fn git(dir: &Path, arguments: &[&str]) -> bool {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]);
    git.args(arguments).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null");
    git.output().unwrap().status.success()
}

/// A checkout with a file that `main` and `other` say differently.
fn checkout() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let say = |text: &str| {
        fs::write(dir.path().join("file"), text).unwrap();
        assert!(git(dir.path(), &["add", "."]) && git(dir.path(), &["commit", "-qm", text]));
    };
    assert!(git(dir.path(), &["init", "-q", "-b", "main"]));
    say("one");
    assert!(git(dir.path(), &["checkout", "-q", "-b", "other"]));
    say("two");
    assert!(git(dir.path(), &["checkout", "-q", "main"]));
    say("three");
    dir
}

#[test]
fn git_is_busy_until_it_has_ended_what_it_has_begun() {
    let dir = checkout();
    let dir = dir.path();
    assert_eq!(git_is_busy_in(dir), None);
    for (begin, end) in [
        (&["rebase", "other"][..], &["rebase", "--abort"][..]),
        (&["merge", "other"], &["merge", "--abort"]),
        (&["cherry-pick", "other"], &["cherry-pick", "--abort"]),
    ] {
        assert!(!git(dir, begin), "there is a conflict");
        let busy = git_is_busy_in(dir);
        assert!(busy.is_some_and(|what| what.contains(begin[0])), "{busy:?} {begin:?}");
        assert!(git(dir, end));
        assert_eq!(git_is_busy_in(dir), None, "{begin:?}");
    }
    fs::write(dir.join(".git/index.lock"), "").unwrap();
    assert!(git_is_busy_in(dir).is_some());
}

#[test]
fn a_bisection_is_to_be_built_unless_files_were_changed() {
    let dir = checkout();
    let dir = dir.path();
    assert!(git(dir, &["bisect", "start"]));
    assert_eq!(git_is_busy_in(dir), None);
    fs::write(dir.join("file"), "changed").unwrap();
    assert!(git_is_busy_in(dir).is_some());
}

#[test]
fn a_worktree_is_busy_by_itself_and_a_folder_without_git_never_is() {
    let dir = checkout();
    let beside = tempfile::tempdir().unwrap();
    let worktree = beside.path().join("worktree");
    assert!(git(dir.path(), &["worktree", "add", "-q", worktree.to_str().unwrap(), "other"]));
    fs::create_dir(worktree.join("inner")).unwrap();
    assert!(!git(&worktree, &["merge", "main"]));
    assert!(git_is_busy_in(worktree.join("inner")).is_some());
    assert_eq!(git_is_busy_in(dir.path()), None);
    assert_eq!(git_is_busy_in(beside.path()), None);
}
