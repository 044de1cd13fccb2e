use std::{fs, path::PathBuf};

use crate::world::World;

fn receipt(world: &World) -> PathBuf {
    let receipts = fs::read_dir(world.path("target/.auto-update/receipts")).unwrap();
    receipts.map(|dir| dir.unwrap().path().join("current")).next().unwrap()
}

#[test]
fn a_receipt_with_any_bit_flipped_is_never_fresh() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    let whole = fs::read(&path).unwrap();
    // Every byte of the preamble and the head, then a stride that meets every field of an entry.
    for at in (0..600.min(whole.len())).chain((600..whole.len()).step_by(23)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(
            world.stale(),
            ["Unknown: the record of its last build is damaged"],
            "byte {at}"
        );
    }
    fs::write(&path, &whole).unwrap();
    world.assert_fresh();
    fs::write(&path, "nonsense").unwrap();
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
}

#[test]
fn a_receipt_of_another_version_is_no_receipt() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] += 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(world.stale(), ["Unknown: no record of its last build"]);
    assert!(world.ensure().is_fresh());
    world.assert_fresh();
}

#[test]
fn a_receipt_cut_short_or_grown_is_never_fresh() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(31) {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(world.stale(), ["Unknown: the record of its last build is damaged"], "{length}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(world.stale(), ["Unknown: the record of its last build is damaged"]);
}

#[test]
fn a_receipt_that_is_gone_asks_cargo_and_compiles_nothing() {
    let world = World::chain();
    let built = world.ensure().artifact;
    fs::remove_file(receipt(&world)).unwrap();
    assert_eq!(world.stale(), ["Unknown: no record of its last build"]);
    let again = world.ensure();
    assert!(again.is_fresh(), "{:?}", again.events);
    assert_eq!(again.artifact, built);
}

#[test]
fn a_receipt_of_another_workspace_is_not_believed() {
    let (one, two) = (World::chain(), World::chain());
    two.leaf_says("two");
    one.ensure();
    two.ensure();
    fs::copy(receipt(&one), receipt(&two)).unwrap();
    assert_eq!(two.stale(), ["Unknown: the record of its last build is damaged"]);
    assert_eq!(two.prints(), "two");
}

#[test]
fn a_receipt_that_cannot_be_read_is_not_fresh() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let stale = world.stale();
    assert!(
        stale[0].starts_with("Unknown: the record of its last build is unreadable"),
        "{stale:?}"
    );
}

#[test]
fn drafts_of_a_writer_that_was_killed_do_no_harm() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    fs::write(path.with_file_name(".current.1.1"), "half").unwrap();
    world.assert_fresh();
    assert_eq!(world.prints(), "one");
}

#[test]
fn a_moved_workspace_does_not_take_the_old_ones_word() {
    let world = World::chain();
    world.ensure();
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("moved");
    let status = std::process::Command::new("cp").arg("-a").arg(world.root()).arg(&moved).status();
    assert!(status.unwrap().success());
    let updater = auto_update::AutoUpdater::new("app", moved.join("app")).unwrap();
    let updater = updater.environment(world.environment.clone());
    assert!(!updater.check().unwrap().is_fresh());
    let ensured = world.ensure_with(&updater);
    assert_eq!(crate::world::printed(&ensured.artifact.path), "one");
    assert!(updater.check().unwrap().is_fresh());
}
