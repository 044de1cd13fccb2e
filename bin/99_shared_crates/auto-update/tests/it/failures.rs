use std::{fs, sync::Mutex};

use auto_update::{AutoUpdater, BuildEvent, Error};

use crate::world::{World, printed};

/// Fails to make sure of the binary, and says with what words, whether remembered, and the events.
#[track_caller]
fn failure(updater: &AutoUpdater) -> (String, bool, Vec<BuildEvent>) {
    let events = Mutex::new(Vec::new());
    let error = updater.ensure_built_with(|event| events.lock().unwrap().push(event)).unwrap_err();
    match error {
        Error::BuildFailed { diagnostics, remembered, .. } => {
            (diagnostics, remembered, events.into_inner().unwrap())
        }
        other => panic!("{other}"),
    }
}

#[test]
fn nobody_compiles_by_itself_what_failed_until_an_input_changes() {
    let world = World::chain();
    let automatic = || world.updater().automatic(true);
    let good = world.ensure().artifact;
    world.write("leaf/src/lib.rs", "pub fn text() -> String { 5 }\n");
    let (words, remembered, events) = failure(&automatic());
    assert!(words.contains("error[E0308]") && !remembered, "{words}");
    assert!(matches!(events.first(), Some(BuildEvent::Building { .. })));
    let (again, remembered, events) = failure(&automatic());
    assert!(remembered && again == words);
    assert_eq!(events, [BuildEvent::Failed { diagnostics: words, remembered: true }]);
    // The last good build is still known, and not called fresh.
    assert!(world.updater().needs_rebuild().unwrap());
    assert_eq!(world.updater().last_good().unwrap(), Some(good));
    // Another mistake is another input.
    world.write("leaf/src/lib.rs", "pub fn text() -> String { 6 }\n");
    assert!(!failure(&automatic()).1);
    world.leaf_says("mended");
    assert_eq!(world.prints(), "mended");
    world.assert_fresh();
}

#[test]
fn whoever_asks_by_hand_has_it_compiled_though_it_failed() {
    let world = World::chain();
    world.ensure();
    world.leaf_says("two");
    world.write("app/src/main.rs", "fn main() { missing() }\n");
    let automatic = world.updater().automatic(true);
    assert!(!failure(&world.updater()).1);
    assert!(!failure(&world.updater()).1);
    assert!(failure(&automatic).1);
    let words = automatic.ensure_built_with(|_| {}).unwrap_err().to_string();
    assert!(words.contains("--force"), "{words}");
    assert!(!failure(&automatic.clone().force(true)).1);
    assert!(matches!(world.updater().rebuild(), Err(Error::BuildFailed { remembered: false, .. })));
}

#[test]
fn a_failure_is_remembered_for_the_whole_environment_and_a_while() {
    let mut world = World::single("fn main() { print!(\"{}\", env!(\"SOMETHING\")); }\n");
    world.cargo(&["generate-lockfile", "-q"]);
    assert!(!failure(&world.updater().automatic(true)).1);
    assert!(failure(&world.updater().automatic(true)).1);
    // Where a shell was started from is no reason to compile.
    let elsewhere = world.environment.clone().set("PWD", "/elsewhere").set("SHLVL", "7");
    assert!(failure(&world.updater().environment(elsewhere).automatic(true)).1);
    // Any other variable may be the one that was wanting, known as an input or not.
    let other = world.environment.clone().set("PKG_DATABASE", "there");
    assert!(!failure(&world.updater().environment(other).automatic(true)).1);
    world.environment = world.environment.clone().set("SOMETHING", "set");
    let artifact = world.updater().automatic(true).ensure_built_with(|_| {}).unwrap();
    assert_eq!(printed(&artifact.path), "set");

    world.write("app/src/main.rs", "fn main() { missing() }\n");
    let automatic = world.updater().automatic(true);
    assert!(!failure(&automatic).1);
    assert!(failure(&automatic).1);
    let minutes = std::time::Duration::from_secs(60);
    let now = std::time::SystemTime::now();
    for written in [now - 11 * minutes, now + 5 * minutes] {
        let receipts = fs::read_dir(world.path("target/.auto-update/receipts")).unwrap();
        let failed = receipts.flatten().next().unwrap().path().join("failed");
        fs::File::options().write(true).open(failed).unwrap().set_modified(written).unwrap();
        assert!(!failure(&automatic).1, "{written:?}");
    }
}

#[test]
fn a_new_file_mends_what_failed_for_want_of_it() {
    let world = World::single("fn main() {}\n");
    world.ensure();
    world.write("app/src/main.rs", "mod m; fn main() { print!(\"{}\", m::V); }\n");
    let automatic = world.updater().automatic(true);
    assert!(!failure(&automatic).1);
    assert!(failure(&automatic).1);
    world.write("app/src/m.rs", "pub const V: u8 = 1;\n");
    assert_eq!(world.prints(), "1");
}

#[test]
fn a_missing_file_outside_the_packages_is_looked_for_each_time() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("text");
    let world =
        World::single(&format!("fn main() {{ print!(\"{{}}\", include_str!({path:?})); }}\n"));
    assert!(!failure(&world.updater()).1);
    fs::write(&path, "there").unwrap();
    assert_eq!(world.prints(), "there");
}

#[test]
fn a_broken_manifest_is_reported_in_cargos_words() {
    let world = World::chain();
    world.ensure();
    let updater = world.updater();
    let manifest = world.read("leaf/Cargo.toml");
    world.write("leaf/Cargo.toml", "[package\n");
    let (words, ..) = failure(&updater);
    assert!(words.contains("leaf/Cargo.toml"), "{words}");
    world.write("leaf/Cargo.toml", &manifest);
    assert!(updater.check().unwrap().is_fresh());
}

#[test]
fn going_back_to_what_worked_needs_no_build() {
    let world = World::chain();
    world.ensure();
    world.write("leaf/src/lib.rs", "pub fn text() -> String { 5 }\n");
    failure(&world.updater());
    world.leaf_says("one");
    assert!(world.ensure().is_fresh());
}

#[test]
fn warnings_and_diagnostics_reach_the_observer_with_colours_if_asked() {
    let world = World::chain();
    world.write("leaf/src/lib.rs", "fn unused() {} pub fn text() -> String { String::new() }\n");
    let coloured = world.ensure_with(&world.updater().colours(true));
    let lines: Vec<&String> = coloured
        .events
        .iter()
        .filter_map(|event| match event {
            BuildEvent::Line(line) => Some(line),
            _ => None,
        })
        .collect();
    assert!(lines.iter().any(|line| line.contains("\u{1b}[") && line.contains("Compiling")));
    assert!(lines.iter().any(|line| line.contains("function `unused` is never used")));
}

#[test]
fn a_target_directory_that_cannot_be_written_is_a_clear_error() {
    let world = World::chain();
    fs::write(world.path("target"), "in the way").unwrap();
    let error = world.updater().ensure_built_with(|_| {}).unwrap_err();
    assert!(error.to_string().contains("cannot create"), "{error}");
    assert!(world.updater().needs_rebuild().unwrap());
}

#[test]
fn a_fresh_binary_is_fresh_though_nothing_can_be_written() {
    let world = World::chain();
    world.ensure();
    let records = world.path("target/.auto-update/receipts");
    let dir = fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    // No lock can be taken, so nothing is written; permissions would not stop a superuser.
    fs::remove_file(dir.join("lock")).unwrap();
    fs::create_dir(dir.join("lock")).unwrap();
    world.touch("leaf/src/lib.rs");
    world.assert_fresh();
    assert!(world.ensure().is_fresh());
    world.leaf_says("two");
    let error = world.updater().ensure_built_with(|_| {}).unwrap_err();
    assert!(error.to_string().starts_with("cannot open"), "{error}");
}

#[test]
fn a_search_path_without_cargo_is_a_clear_error() {
    let mut world = World::chain();
    world.environment = world.environment.clone().set("PATH", "/nowhere");
    let error = world.updater().ensure_built_with(|_| {}).unwrap_err();
    assert!(error.to_string().contains("cannot start `cargo`"), "{error}");
}
