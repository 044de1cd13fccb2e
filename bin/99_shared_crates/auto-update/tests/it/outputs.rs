use std::fs;

use auto_update::{ArtifactHash, BuildEvent};

use crate::world::{World, printed};

#[test]
fn a_missing_binary_is_stale_and_is_linked_again() {
    let world = World::chain();
    let built = world.ensure();
    world.remove("target/debug/app");
    world.assert_stale_then_prints(&["Removed Output target/debug/app"], "one");
    assert_eq!(world.ensure().artifact, built.artifact);
}

#[test]
fn a_binary_that_was_replaced_by_another_file_is_stale() {
    let world = World::chain();
    world.ensure();
    world.remove("target/debug/app");
    world.write("target/debug/app", "not a program");
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "one");
    assert_eq!(printed(&world.path("target/debug/app")), "one");
}

#[test]
fn a_binary_that_was_changed_in_place_is_repaired_though_cargo_finds_it_fresh() {
    let world = World::chain();
    let built = world.ensure();
    let path = world.path("target/debug/app");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Compiling"));
    assert_eq!(fs::read(&path).unwrap(), bytes, "cargo repairs it by itself");
    world.assert_stale_then_prints(&["Modified Output target/debug/app"], "one");
    assert_eq!(ArtifactHash::of_file(&path).unwrap(), built.artifact.hash);
}

#[test]
fn a_binary_that_was_only_touched_is_fresh() {
    let world = World::chain();
    world.ensure();
    world.touch("target/debug/app");
    world.assert_fresh();
}

#[test]
fn an_artifact_that_was_removed_or_changed_in_the_store_is_stale_and_comes_back() {
    let world = World::chain();
    let built = world.ensure().artifact;
    fs::remove_file(&built.path).unwrap();
    assert_eq!(world.stale().len(), 1);
    assert_eq!(world.prints(), "one");
    fs::remove_file(&built.path).unwrap();
    fs::write(&built.path, "broken").unwrap();
    let stale = world.stale();
    assert!(stale[0].starts_with("Modified Output"), "{stale:?}");
    assert_eq!(world.prints(), "one");
    assert_eq!(ArtifactHash::of_file(&built.path).unwrap(), built.hash);
    world.assert_fresh();
}

#[test]
fn the_artifact_runs_on_while_cargo_builds_the_next() {
    let world = World::chain();
    let first = world.ensure().artifact;
    world.leaf_says("two");
    let second = world.ensure().artifact;
    assert_ne!(first.hash, second.hash);
    assert_eq!((printed(&first.path).as_str(), printed(&second.path).as_str()), ("one", "two"));
    assert_eq!(ArtifactHash::of_file(&second.path).unwrap(), second.hash);
    assert_eq!(second.target_path, world.path("target/debug/app"));
}

#[test]
fn a_branch_there_and_back_compiles_nothing_on_the_way_back() {
    let world = World::chain();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@t",
            "-c",
            "init.defaultBranch=main",
        ]);
        let output = command.args(arguments).current_dir(world.root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    world.write(".gitignore", "target\n");
    world.write("leaf/src/more.rs", "");
    git(&["init", "-q"]);
    let first = world.ensure().artifact;
    git(&["add", "-A"]);
    git(&["commit", "-qm", "one"]);
    git(&["checkout", "-qb", "other"]);
    world.leaf_says("two");
    world.remove("leaf/src/more.rs");
    git(&["commit", "-qam", "two"]);
    let second = world.ensure();
    assert!(second.compiled());
    git(&["checkout", "-q", "main"]);
    let back = world.ensure();
    assert!(back.is_fresh(), "{:?}", back.events);
    assert_eq!(back.artifact, first);
    assert_eq!(printed(&back.artifact.path), "one");
    git(&["checkout", "-q", "other"]);
    let again = world.ensure();
    assert!(again.is_fresh());
    assert_eq!(again.artifact, second.artifact);
    // From a restored build an edit still reaches the binary, through cargo's own state.
    world.leaf_says("three");
    world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], "three");
    git(&["checkout", "-q", "."]);
    git(&["checkout", "-q", "main"]);
    world.leaf_says("four");
    assert_eq!(world.prints(), "four");
    assert_eq!(world.truth(), "four");
}

#[test]
fn a_rebuild_that_gives_the_same_bytes_says_so() {
    let world = World::chain();
    let built = world.ensure();
    let text = world.read("leaf/src/lib.rs");
    world.write(
        "leaf/src/lib.rs",
        &text.replace("pub fn", "#[allow(dead_code)] struct Unused;\npub fn"),
    );
    let again = world.ensure();
    assert!(again.compiled());
    assert!(
        matches!(again.events.last(), Some(BuildEvent::Finished { identical: true, .. })),
        "{:?}",
        again.events
    );
    assert_eq!(again.artifact, built.artifact);
    world.leaf_says("two");
    let other = world.ensure();
    assert!(matches!(other.events.last(), Some(BuildEvent::Finished { identical: false, .. })));
}

#[test]
fn the_store_keeps_to_its_limit_but_keeps_the_newest_and_what_runs() {
    let world = World::single(
        "fn main() { if std::env::args().nth(1).is_some() { std::io::stdin().read_line(&mut String::new()).unwrap(); } print!(\"0\"); }\n",
    );
    let limited = world.updater().store_limit(1);
    let first = world.ensure_with(&limited).artifact;
    let mut running = std::process::Command::new(&first.path)
        .arg("wait")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    world.replace("app/src/main.rs", "\"0\"", "\"1\"");
    let second = world.ensure_with(&limited).artifact;
    world.replace("app/src/main.rs", "\"1\"", "\"2\"");
    let third = world.ensure_with(&limited).artifact;
    let kept = limited.store().unwrap().list().unwrap();
    let kept: Vec<ArtifactHash> = kept.iter().map(|artifact| artifact.hash).collect();
    assert_eq!(kept, [first.hash, third.hash], "and not {}", second.hash);
    drop(running.stdin.take());
    running.wait().unwrap();
    let removed = limited.store().unwrap().collect_garbage(1).unwrap();
    assert_eq!(removed.len(), 1);
    assert!(removed[0].hash == first.hash && third.path.is_file() && !first.path.exists());
    // What is gone is built again, not taken for restored.
    world.replace("app/src/main.rs", "\"2\"", "\"0\"");
    assert_eq!(world.stale(), ["Modified Source app/src/main.rs"]);
    assert_eq!(world.prints(), "0");
}

#[test]
fn a_foreign_build_with_other_features_does_not_change_what_runs() {
    let world = World::chain();
    world.package("leaf", "[features]\nloud = []\n");
    world.write(
        "leaf/src/lib.rs",
        "pub fn text() -> String { cfg!(feature = \"loud\").to_string() }\n",
    );
    world
        .package("other", "[dependencies]\nleaf = { path = \"../leaf\", features = [\"loud\"] }\n");
    world.write("other/src/lib.rs", "");
    world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"other\"");
    let built = world.ensure().artifact;
    assert_eq!(printed(&built.path), "false");
    world.cargo(&["build", "--workspace"]);
    assert_eq!(printed(&world.path("target/debug/app")), "true");
    assert_eq!(world.stale(), ["Modified Output target/debug/app"]);
    let again = world.ensure();
    assert!(again.is_fresh(), "{:?}", again.events);
    assert_eq!(again.artifact, built);
    assert_eq!(printed(&world.path("target/debug/app")), "false");
}

#[test]
fn a_build_made_by_hand_is_taken_over_without_compiling() {
    let world = World::chain();
    world.ensure();
    world.leaf_says("two");
    world.cargo(&["build", "-p", "app"]);
    assert_eq!(
        world.stale(),
        ["Modified Output target/debug/app", "Modified Source leaf/src/lib.rs"][1..]
    );
    let taken = world.ensure();
    assert!(!taken.compiled(), "{:?}", taken.events);
    assert_eq!(printed(&taken.artifact.path), "two");
    world.assert_fresh();
}

#[test]
fn a_cleaned_target_directory_is_built_again() {
    let world = World::chain();
    world.ensure();
    world.cargo(&["clean", "-q"]);
    assert_eq!(world.stale(), ["NeverBuilt Output target/debug/app"]);
    assert_eq!(world.prints(), "one");
    world.cargo(&["clean", "-q", "-p", "leaf"]);
    world.assert_fresh();
    assert_eq!(world.prints(), "one");
}

#[test]
fn a_library_without_a_hash_in_its_name_is_followed() {
    let world = World::single("fn main() { print!(\"{}\", app_lib::text()); }\n");
    let manifest =
        "[lib]\nname = \"app_lib\"\ncrate-type = [\"staticlib\", \"cdylib\", \"rlib\"]\n";
    world.package("app", manifest);
    world.write("app/src/lib.rs", "pub fn text() -> &'static str { \"one\" }\n");
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
    world.replace("app/src/lib.rs", "one", "two");
    world.assert_stale_then_prints(&["Modified Source app/src/lib.rs"], "two");
}

/// The layout that cargo tries out; a usual cargo takes the option where it is told to.
#[test]
fn what_is_built_in_the_new_layout_is_followed() {
    let mut world = World::single("fn main() { print!(\"{} {}\", app::V, env!(\"MADE\")); }\n");
    world.environment = world.environment.clone().set("RUSTC_BOOTSTRAP", "1");
    world.write(".cargo/config.toml", "[unstable]\nbuild-dir-new-layout = true\n");
    world.package("app", "[lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n");
    world.write("app/src/lib.rs", "pub const V: &str = \"one\";\n");
    world.write(
        "app/build.rs",
        "fn main() { println!(\"cargo::rerun-if-changed=in\\ncargo::rustc-env=MADE={}\", std::fs::read_to_string(\"in\").unwrap()); }\n",
    );
    world.write("app/in", "x");
    assert_eq!(world.prints(), "one x");
    assert!(!world.path("target/debug/deps").exists());
    world.assert_fresh();
    world.replace("app/src/lib.rs", "one", "two");
    world.assert_stale_then_prints(&["Modified Source app/src/lib.rs"], "two x");
    world.write("app/in", "y");
    world.assert_stale_then_prints(&["Modified BuildScript app/in"], "two y");
}

#[test]
fn what_a_person_does_to_cargos_copy_in_place_is_seen_and_mended() {
    let world = World::single("fn main() { print!(\"x\"); }\n");
    let built = world.ensure().artifact;
    // A running program cannot be written to, and this one has ended.
    let mut bytes = std::fs::read(&built.target_path).unwrap();
    bytes.extend(b"more");
    std::fs::write(&built.target_path, bytes).unwrap();
    assert!(world.stale()[0].contains("Output"), "{:?}", world.stale());
    let again = world.ensure().artifact;
    assert_eq!(again.hash, built.hash);
    for path in [&again.path, &again.target_path] {
        assert_eq!(ArtifactHash::of_file(path).unwrap(), built.hash);
    }
    world.assert_fresh();
}

#[test]
fn after_an_edit_of_sources_cargo_is_called_once() {
    let mut world = World::chain();
    let (path, calls) = (world.environment.get("PATH").unwrap().to_owned(), world.path("calls"));
    let script = format!("#!/bin/sh\necho $1 >> {calls:?}\nPATH={path:?} exec cargo \"$@\"\n");
    world.program("bin/cargo", &script);
    let longer =
        std::env::join_paths([world.path("bin")].into_iter().chain(std::env::split_paths(&path)));
    world.environment = world.environment.clone().set("PATH", longer.unwrap());
    world.ensure();
    let called = |edit: &dyn Fn()| {
        world.remove("calls");
        edit();
        world.ensure();
        world.read("calls")
    };
    assert_eq!(called(&|| world.leaf_says("two")), "build\n");
    let manifest = world.read("leaf/Cargo.toml");
    let both = || {
        world
            .write("leaf/Cargo.toml", &manifest.replace("edition", "description = \"b\"\nedition"));
        world.leaf_says("three");
    };
    assert_eq!(called(&both), "build\nmetadata\n");
    assert_eq!(called(&|| world.leaf_says("four")), "build\n");
    assert_eq!(world.prints(), "four");
    world.assert_fresh();
}
