use std::{fs, path::PathBuf};

use crate::world::World;

fn receipt(world: &World) -> PathBuf {
    let receipts = fs::read_dir(world.path("target/.auto-update/receipts")).unwrap();
    receipts.map(|dir| dir.unwrap().path().join("current")).next().unwrap()
}

const DAMAGED: &str = "Unknown: the record of its last build is damaged";

#[test]
fn a_receipt_with_any_byte_changed_is_never_fresh() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    let whole = fs::read(&path).unwrap();
    // One bit of each byte, and every bit of what vouches for the rest.
    let bits = (0..whole.len()).map(|at| (at, at % 8));
    let vouching = (0..48).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    for (at, bit) in bits.chain(vouching) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        // The eighth byte is the version, as a digit.
        let is_version = at == 7 && bytes[7].is_ascii_digit();
        let doubt = if is_version { "Unknown: no record of its last build" } else { DAMAGED };
        assert_eq!(world.stale(), [doubt], "bit {bit} of byte {at}");
    }
    fs::write(&path, &whole).unwrap();
    world.assert_fresh();
    fs::write(&path, "nonsense").unwrap();
    assert_eq!(world.prints(), "one");
    world.assert_fresh();
}

#[test]
fn a_receipt_with_a_part_that_never_reached_the_disk_is_never_fresh() {
    let world = World::chain();
    world.ensure();
    let path = receipt(&world);
    let whole = fs::read(&path).unwrap();
    // After a loss of power whole blocks may be zero, whatever the length says.
    for size in [512, 4096] {
        for from in (0..whole.len()).step_by(size) {
            let mut bytes = whole.clone();
            let to = (from + size).min(whole.len());
            bytes[from..to].fill(0);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(world.stale(), [DAMAGED], "{from} to {to}");
        }
    }
    fs::write(&path, vec![0; whole.len()]).unwrap();
    assert_eq!(world.stale(), [DAMAGED]);
    assert!(world.ensure().is_fresh());
    world.assert_fresh();
}

#[test]
fn a_damaged_receipt_of_an_earlier_build_restores_nothing() {
    let world = World::chain();
    world.ensure();
    world.leaf_says("two");
    world.ensure();
    let earlier = receipt(&world).with_file_name("earlier");
    for path in fs::read_dir(&earlier).unwrap().map(|entry| entry.unwrap().path()) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    world.leaf_says("one");
    assert_eq!(world.stale(), ["Modified Source leaf/src/lib.rs"]);
    assert_eq!(world.prints(), "one");
}

#[test]
fn a_damaged_record_of_a_failure_is_no_failure() {
    let world = World::chain();
    world.ensure();
    world.write("leaf/src/lib.rs", "pub fn text() -> String { 5 }\n");
    let remembered = || match world.updater().automatic(true).ensure_built_with(|_| {}) {
        Err(auto_update::Error::BuildFailed { remembered, .. }) => remembered,
        other => panic!("{other:?}"),
    };
    assert!(!remembered());
    assert!(remembered());
    let path = receipt(&world).with_file_name("failed");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(!remembered());
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
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(world.stale(), [DAMAGED], "{length}");
    }
    fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(world.stale(), [DAMAGED]);
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
    assert_eq!(two.stale(), [DAMAGED]);
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
