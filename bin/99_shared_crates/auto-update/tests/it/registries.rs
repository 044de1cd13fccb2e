use std::{fs, process::Command};

use tempfile::TempDir;

use crate::world::{World, printed};

/// A workspace under a home of cargo's own.
fn with_home() -> (World, TempDir) {
    let mut world = World::single("fn main() { print!(\"{}\", word::V); }\n");
    let home = tempfile::tempdir().unwrap();
    world.environment = world.environment.clone().set("CARGO_HOME", home.path());
    (world, home)
}

fn shell(world: &World, script: &str) {
    let output =
        Command::new("sh").args(["-ec", script]).current_dir(world.root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Publishes the crate `word` in the registry of the workspace.
fn publish(world: &World, version: &str) {
    let name = format!("word-{version}");
    world.package(&name, "");
    world.replace(&format!("{name}/Cargo.toml"), &format!("\"{name}\""), "\"word\"");
    world.replace(&format!("{name}/Cargo.toml"), "0.1.0", version);
    world.write(&format!("{name}/src/lib.rs"), &format!("pub const V: &str = \"{version}\";\n"));
    shell(
        world,
        &format!(
            "mkdir -p registry/index/wo/rd; tar czf registry/{name}.crate {name}; rm -r {name}\n\
         sum=$(sha256sum registry/{name}.crate | cut -c1-64)\n\
         echo '{{\"name\":\"word\",\"vers\":\"{version}\",\"deps\":[],\"features\":{{}},\"yanked\":false,\"cksum\":\"'$sum'\"}}' >> registry/index/wo/rd/word"
        ),
    );
}

#[test]
fn a_crate_of_a_registry_matters_by_the_lock_file() {
    let (world, home) = with_home();
    publish(&world, "0.1.0");
    world.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\nlocal-registry = \"registry\"\n",
    );
    world.package("app", "[dependencies]\nword = \"0.1\"\n");
    assert_eq!(world.prints(), "0.1.0");
    world.assert_fresh();
    // That there is a newer one changes nothing until the lock file says so.
    publish(&world, "0.1.1");
    world.assert_fresh();
    world.cargo(&["update", "-q", "-p", "word"]);
    world.assert_stale_then_prints(&["Modified Manifest Cargo.lock"], "0.1.1");
    // The checksum in the lock file vouches for what was unpacked: cargo does not look either.
    let inputs = world.updater().inputs().unwrap();
    assert!(!inputs.iter().any(|input| input.path.starts_with(home.path().join("registry"))));
    assert_eq!(world.truth(), "0.1.1");
}

#[test]
fn a_crate_from_git_matters_by_the_lock_file() {
    let (mut world, home) = with_home();
    // What is fetched lies on this machine.
    world.environment = world.environment.clone().unset("CARGO_NET_OFFLINE");
    let there = tempfile::tempdir().unwrap();
    let commit = |word: &str| {
        fs::create_dir_all(there.path().join("src")).unwrap();
        let manifest = "[package]\nname = \"word\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        fs::write(there.path().join("Cargo.toml"), manifest).unwrap();
        fs::write(there.path().join("src/lib.rs"), format!("pub const V: &str = {word:?};\n"))
            .unwrap();
        let identity = "-c user.name=t -c user.email=t@t -c init.defaultBranch=main";
        shell(
            &world,
            &format!(
                "cd {:?}; git {identity} init -q; git add -A; git {identity} commit -qm {word}",
                there.path()
            ),
        );
    };
    commit("one");
    world.package(
        "app",
        &format!("[dependencies]\nword = {{ git = \"file://{}\" }}\n", there.path().display()),
    );
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
    commit("two");
    world.assert_fresh();
    assert_eq!(world.prints(), "one");
    world.cargo(&["update", "-q", "-p", "word"]);
    world.assert_stale_then_prints(&["Modified Manifest Cargo.lock"], "two");
    let inputs = world.updater().inputs().unwrap();
    assert!(!inputs.iter().any(|input| input.path.starts_with(home.path().join("git"))));
}

#[test]
fn a_vendored_crate_that_is_vendored_again_in_another_version_matters() {
    let (world, _home) = with_home();
    // As `cargo vendor` does it, with the checksum of each file.
    let vendor = |version: &str| {
        world.package("vendor/word", "");
        world.replace("vendor/word/Cargo.toml", "vendor/word", "word");
        world.replace("vendor/word/Cargo.toml", "0.1.0", version);
        world.write("vendor/word/src/lib.rs", "pub const V: &str = env!(\"CARGO_PKG_VERSION\");\n");
        shell(
            &world,
            "cd vendor/word; sum() { sha256sum $1 | cut -c1-64; }\n\
             echo '{\"files\":{\"Cargo.toml\":\"'$(sum Cargo.toml)'\",\"src/lib.rs\":\"'$(sum src/lib.rs)'\"}}' > .cargo-checksum.json",
        );
    };
    world.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"vendor\"\n",
    );
    world.package("app", "[dependencies]\nword = \"0.1\"\n");
    vendor("0.1.0");
    assert_eq!(world.prints(), "0.1.0");
    vendor("0.1.7");
    world.cargo(&["update", "-q", "-p", "word"]);
    world.assert_stale_then_prints(
        &["Modified Manifest Cargo.lock", "Modified Manifest vendor/word/Cargo.toml"],
        "0.1.7",
    );
    assert_eq!(world.truth(), "0.1.7");
}

/// A crate in a folder that stands for the registry, with `files` of its own.
fn vendored(world: &World, files: &[(&str, &str)]) {
    world.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"vendor\"\n",
    );
    world.package("vendor/word", "");
    world.replace("vendor/word/Cargo.toml", "vendor/word", "word");
    world.write("vendor/word/.cargo-checksum.json", "{\"files\":{}}");
    files.iter().for_each(|(path, text)| world.write(&format!("vendor/word/{path}"), text));
    world.package("app", "[dependencies]\nword = \"0.1\"\n");
}

#[test]
fn a_vendored_crate_edited_under_other_flags_is_not_believed_without_them() {
    let (mut world, _home) = with_home();
    vendored(&world, &[("src/lib.rs", "pub const V: &str = \"one\";\n")]);
    let plain = world.environment.clone();
    // By hand, so that no receipt knows what it was made from.
    world.cargo(&["build", "-q", "-p", "app"]);
    world.environment = plain.clone().set("RUSTFLAGS", "--cfg loud");
    world.write("vendor/word/src/lib.rs", "pub const V: &str = \"two\";\n");
    assert_eq!(world.prints(), "two");
    world.environment = plain;
    assert_eq!(world.stale(), ["Variable Environment RUSTFLAGS"]);
    assert_eq!(world.prints(), "two");
    world.assert_fresh();
}

#[test]
fn what_the_silent_script_of_a_vendored_crate_reads_matters() {
    let (world, _home) = with_home();
    let script = "fn main() { println!(\"cargo::rustc-env=WORD={}\", std::fs::read_to_string(\"word.txt\").unwrap()); }\n";
    vendored(
        &world,
        &[
            ("src/lib.rs", "pub const V: &str = env!(\"WORD\");\n"),
            ("build.rs", script),
            ("word.txt", "one"),
        ],
    );
    assert_eq!(world.prints(), "one");
    world.write("vendor/word/word.txt", "two");
    // Cargo never looks there.
    world.cargo(&["build", "-q", "-p", "app"]);
    assert_eq!(printed(&world.path("target/debug/app")), "one");
    world.assert_stale_then_prints(&["Modified BuildScript vendor/word/word.txt"], "two");
    world.write_with_old_mtime("vendor/word/word.txt", "six");
    world.assert_stale_then_prints(&["Modified BuildScript vendor/word/word.txt"], "six");
}
