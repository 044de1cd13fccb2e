use std::sync::Mutex;

use auto_update::{AutoUpdater, BuildEvent, Error, ensure_all};

use crate::world::{World, printed};

/// `app` and `other`, which use `leaf` with other features.
fn two() -> (World, AutoUpdater, AutoUpdater) {
    let world = World::chain();
    world.package("leaf", "[features]\nloud = []\n");
    world.write(
        "leaf/src/lib.rs",
        "pub fn text() -> String { cfg!(feature = \"loud\").to_string() }\n",
    );
    world
        .package("other", "[dependencies]\nleaf = { path = \"../leaf\", features = [\"loud\"] }\n");
    world.write("other/src/main.rs", "fn main() { print!(\"{}\", leaf::text()); }\n");
    world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"other\"");
    let other = AutoUpdater::new("other", world.path("other")).unwrap();
    let other = other.environment(world.environment.clone());
    let app = world.updater();
    (world, app, other)
}

#[test]
fn binaries_built_together_are_the_ones_that_are_built_alone() {
    let (world, app, other) = two();
    let artifacts = ensure_all(&[&app, &other], |_, _| {}).unwrap();
    // One call for both would have turned the feature on in both.
    assert_eq!(printed(&artifacts[0].path), "false");
    assert_eq!(printed(&artifacts[1].path), "true");
    assert!(app.check().unwrap().is_fresh() && other.check().unwrap().is_fresh());
    world.cargo(&["clean", "-q"]);
    let alone = [app.ensure_built_with(|_| {}).unwrap(), other.ensure_built_with(|_| {}).unwrap()];
    assert_eq!(alone.map(|artifact| artifact.hash), [artifacts[0].hash, artifacts[1].hash]);
}

#[test]
fn what_is_fresh_starts_no_cargo_together_either() {
    let (_world, app, other) = two();
    ensure_all(&[&app, &other], |_, _| {}).unwrap();
    let events = Mutex::new(Vec::new());
    ensure_all(&[&app, &other], |updater, event| {
        events.lock().unwrap().push((updater.name().to_owned(), event));
    })
    .unwrap();
    let fresh = |name: &str| (name.to_owned(), BuildEvent::Fresh);
    assert_eq!(events.into_inner().unwrap(), [fresh("app"), fresh("other")]);
}

#[test]
fn a_broken_binary_does_not_keep_the_others_from_being_built() {
    let (world, app, other) = two();
    world.write("app/src/main.rs", "fn main() { missing() }\n");
    let error = ensure_all(&[&app, &other], |_, _| {}).unwrap_err();
    assert!(matches!(&error, Error::BuildFailed { binary, .. } if binary == "app"), "{error}");
    assert!(other.check().unwrap().is_fresh());
}
