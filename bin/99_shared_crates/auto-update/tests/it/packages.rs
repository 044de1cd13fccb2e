//! Which files of a package count where its build script watches nothing by name.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, fs::symlink, net::UnixListener},
    path::Path,
    process::Command,
};

use auto_update::AutoUpdater;

use crate::world::{World, printed};

/// A binary that prints the names of what lies in its package, hidden names too, and what one of
/// them holds.
fn silent() -> World {
    let world = World::single("fn main() { print!(\"{}\", env!(\"MADE\")); }\n");
    world.write(
        "app/build.rs",
        "fn main() { println!(\"cargo:rustc-env=MADE={}\", std::fs::read_to_string(\".data\").unwrap().trim()); }\n",
    );
    world.write("app/.data", "one");
    world
}

/// The same, committed to git, with a person's own settings elsewhere than this machine's.
fn in_git() -> World {
    let mut world = silent();
    world.write("home/.gitconfig", "[core]\n\texcludesFile = ~/own-rules\n");
    world.write("home/own-rules", "*.own\n");
    let home = world.path("home");
    let cargo_home = world.environment.get("CARGO_HOME").map(ToOwned::to_owned);
    let user = world.environment.get("HOME").unwrap().to_owned();
    let of_user = |name: &str| Path::new(&user).join(name).into_os_string();
    world.environment = world
        .environment
        .clone()
        .set("CARGO_HOME", cargo_home.unwrap_or_else(|| of_user(".cargo")))
        .set("GIT_CONFIG_NOSYSTEM", "1")
        .set("HOME", home);
    if world.environment.get("RUSTUP_HOME").is_none() {
        world.environment = world.environment.clone().set("RUSTUP_HOME", of_user(".rustup"));
    }
    world.write(".gitignore", "target\n*.log\n/home\n!kept.log\n");
    world.cargo(&["generate-lockfile"]);
    git(&world, ".", &["init", "-q"]);
    git(&world, ".", &["add", "-A"]);
    git(&world, ".", &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"]);
    world
}

fn git(world: &World, dir: &str, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(world.path(dir)).env_clear().envs(world.environment.vars());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn hidden_files_count_in_git_and_do_not_outside() {
    let world = in_git();
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
    world.write("app/.data", "two");
    world.assert_stale_then_prints(&["Modified BuildScript app/.data"], "two");

    let world = silent();
    assert_eq!(world.prints(), "one");
    world.write("app/.data", "two");
    world.write("app/.hidden/more", "");
    world.assert_fresh();
    assert!(!world.ensure().compiled());
}

#[test]
fn ignored_files_come_change_and_go_unnoticed() {
    let world = in_git();
    world.ensure();
    for (path, rule) in [
        ("app/run.log", "a rule at the top"),
        ("app/deep/er/run.log", "the same in a folder that is new"),
        ("app/x.own", "a person's own rule"),
        ("app/listed", "the repository's own rule"),
    ] {
        world.write(".git/info/exclude", "listed\n");
        for text in ["", "more"] {
            world.write(path, text);
            assert_eq!(world.stale(), Vec::<String>::new(), "{rule}");
            assert!(!world.ensure().compiled(), "{rule}");
        }
        world.remove(path);
        assert_eq!(world.stale(), Vec::<String>::new(), "{rule}");
    }
    // In a folder that came without a file that counts, one that does is seen.
    world.write("app/deep/er/counts", "");
    assert!(!world.stale().is_empty());
    world.ensure();
    world.assert_fresh();
    world.write("app/kept.log", "");
    assert_eq!(world.stale(), ["Relisted BuildScript app"]);
}

#[test]
fn the_rules_themselves_are_inputs() {
    let world = in_git();
    world.write("app/run.log", "");
    world.ensure();
    world.assert_fresh();
    // Tracked though it is ignored.
    git(&world, ".", &["add", "-f", "app/run.log"]);
    assert_eq!(world.stale(), ["Modified BuildScript .git/index"]);
    world.ensure();
    world.assert_fresh();
    world.write("app/run.log", "more");
    assert_eq!(world.stale(), ["Modified BuildScript app/run.log"]);
    world.ensure();
    git(&world, ".", &["rm", "-q", "-f", "--cached", "app/run.log"]);
    // As it was built from at first.
    world.assert_fresh();
    world.write("app/run.log", "even more");
    world.assert_fresh();
    world.write(".gitignore", "target\n/home\n");
    // The index has other bytes than at that build too, if with the same names in it.
    assert!(world.stale().contains(&"Modified BuildScript .gitignore".to_owned()));
    world.ensure();
    world.write("home/own-rules", "*.own\nrun.log\n");
    // It does not count again, as in builds before.
    world.assert_fresh();
    // What is only said otherwise says the same.
    world.write("home/own-rules", "run.log\n*.own\n");
    world.assert_fresh();
    // What is tracked anyway is committed.
    world.write("app/src/new.rs", "");
    world.ensure();
    git(&world, ".", &["add", "-A"]);
    world.assert_fresh();
}

#[test]
fn another_checkout_inside_counts_by_its_own_rules() {
    let world = in_git();
    world.write("app/inner/.gitignore", "*.tmp\n");
    world.write("app/inner/file", "");
    git(&world, "app/inner", &["init", "-q"]);
    world.ensure();
    world.assert_fresh();
    world.write("app/inner/x.tmp", "");
    world.assert_fresh();
    world.write("app/inner/file", "more");
    assert_eq!(world.stale(), ["Modified BuildScript app/inner/file"]);
}

#[test]
fn a_second_checkout_of_the_repository_has_its_own_index() {
    let world = in_git();
    git(&world, ".", &["worktree", "add", "-q", "../second-checkout"]);
    let second = world.root().join("../second-checkout").canonicalize().unwrap();
    let updater = auto_update::AutoUpdater::new("app", second.join("app")).unwrap();
    let updater = updater.environment(world.environment.clone());
    world.ensure_with(&updater);
    assert_eq!(world.stale_with(&updater), Vec::<String>::new());
    fs::write(second.join("app/run.log"), "").unwrap();
    assert_eq!(world.stale_with(&updater), Vec::<String>::new());
    fs::write(second.join("app/.data"), "two").unwrap();
    assert!(!updater.check().unwrap().is_fresh());
    fs::remove_dir_all(second).unwrap();
}

#[test]
fn what_the_manifest_excludes_does_not_count_and_what_it_includes_alone_does() {
    let world = in_git();
    world.replace("app/Cargo.toml", "edition", "exclude = [\"docs\"]\nedition");
    world.write("app/docs/a", "");
    world.ensure();
    world.write("app/docs/a", "more");
    world.assert_fresh();
    world.replace(
        "app/Cargo.toml",
        "exclude = [\"docs\"]",
        "include = [\"/src\", \"/docs\", \".data\"]",
    );
    world.ensure();
    world.assert_fresh();
    world.write("app/other", "");
    world.assert_fresh();
    world.write("app/docs/a", "even more");
    assert_eq!(world.stale(), ["Modified BuildScript app/docs/a"]);
}

#[test]
fn links_are_followed_and_those_that_lead_nowhere_are_inputs_too() {
    for world in [in_git(), silent()] {
        fs::create_dir_all(world.path("shared")).unwrap();
        world.write("shared/file", "");
        symlink("../nowhere", world.path("app/dangling")).unwrap();
        symlink("../shared", world.path("app/folder")).unwrap();
        symlink("..", world.path("app/src/round")).unwrap();
        world.ensure();
        world.assert_fresh();
        world.write("shared/file", "more");
        assert_eq!(world.stale(), ["Modified BuildScript app/folder/file"]);
        world.ensure();
        world.write("nowhere", "");
        assert_eq!(world.stale(), ["Appeared BuildScript app/dangling"]);
        world.ensure();
        world.assert_fresh();
    }
}

#[test]
fn a_watched_folder_may_hold_links_sockets_and_what_nobody_may_read() {
    let world = silent();
    world.write("app/build.rs", "fn main() { println!(\"cargo:rerun-if-changed=dir\\ncargo:rustc-env=MADE={}\", std::fs::read_dir(\"dir\").unwrap().count()); }\n");
    world.write("app/dir/file", "");
    world.write("shared/file", "");
    symlink("../../shared", world.path("app/dir/folder")).unwrap();
    symlink("../dir", world.path("app/dir/round")).unwrap();
    symlink("nowhere", world.path("app/dir/dangling")).unwrap();
    let _socket = UnixListener::bind(world.path("app/dir/socket")).unwrap();
    assert!(Command::new("mkfifo").arg(world.path("app/dir/pipe")).status().unwrap().success());
    fs::create_dir(world.path("app/dir/closed")).unwrap();
    fs::set_permissions(world.path("app/dir/closed"), Permissions::from_mode(0o000)).unwrap();
    assert_eq!(world.prints(), "7");
    world.assert_fresh();
    world.write("shared/file", "more");
    assert_eq!(world.stale(), ["Modified BuildScript app/dir/folder/file"]);
    world.ensure();
    world.write("shared/second", "");
    assert_eq!(world.stale(), ["Relisted BuildScript app/dir/folder"]);
    fs::set_permissions(world.path("app/dir/closed"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn only_the_packages_own_target_is_left_out() {
    let world = in_git();
    world.write(".gitignore", "/target\n/home\n");
    world.write("app/src/target/file", "");
    world.write("app/target/file", "");
    world.ensure();
    world.write("app/target/file", "more");
    world.assert_fresh();
    world.write("app/src/target/file", "more");
    assert_eq!(world.stale(), ["Modified BuildScript app/src/target/file"]);
}

#[test]
fn a_binary_of_a_package_below_is_found_by_the_folder_above_and_each_is_stale_by_its_own_files() {
    let world = World::single("fn main() { print!(\"above\"); }\n");
    world
        .write("Cargo.toml", "[workspace]\nmembers = [\"app\", \"app/below\"]\nresolver = \"3\"\n");
    world.package("app/below", "[[bin]]\nname = \"other\"\npath = \"src/other.rs\"\n");
    world.replace("app/below/Cargo.toml", "app/below", "below");
    world.write("app/below/src/other.rs", "fn main() { print!(\"below\"); }\n");
    let other = AutoUpdater::new("other", world.path("app")).unwrap();
    let other = other.environment(world.environment.clone());
    assert_eq!(world.prints(), "above");
    assert_eq!(printed(&world.ensure_with(&other).artifact.path), "below");

    world.replace("app/src/main.rs", "above", "above, edited");
    assert_eq!(world.stale_with(&other), Vec::<String>::new());
    assert_eq!(world.stale(), ["Modified Source app/src/main.rs"]);
    assert_eq!(world.prints(), "above, edited");
    world.replace("app/below/src/other.rs", "below", "below, edited");
    world.assert_fresh();
    assert_eq!(world.stale_with(&other), ["Modified Source app/below/src/other.rs"]);

    let missing = AutoUpdater::new("third", world.path("app")).unwrap_err().to_string();
    assert!(missing.contains("third"), "{missing}");
}

#[test]
fn a_workspace_inside_the_package_that_it_uses_is_fresh_once_it_is_built() {
    let world = World::empty();
    world.write(
        "Cargo.toml",
        "[package]\nname = \"above\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    world.write("src/lib.rs", "pub const V: u8 = 1;\n");
    world.package("app", "[dependencies]\nabove = { path = \"..\" }\n[workspace]\n");
    world.write("app/src/main.rs", "fn main() { print!(\"{}\", above::V); }\n");
    // It names nothing, so the folder of the workspace itself is looked at.
    world.write("app/build.rs", "fn main() {}\n");
    world.ensure();
    world.assert_fresh();
    world.write("app/more", "");
    assert_eq!(world.stale(), ["Relisted BuildScript app"]);
}
