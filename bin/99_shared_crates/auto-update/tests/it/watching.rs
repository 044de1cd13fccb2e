use std::{fs, thread, time::Duration};

use auto_update::{Freshness, Watcher};

use crate::world::World;

fn armed(world: &World) -> Watcher {
    world.ensure();
    let watcher = world.updater().watch();
    assert!(watcher.check().unwrap().is_fresh());
    assert!(watcher.is_watching());
    watcher
}

#[test]
fn a_watched_edit_is_seen_by_the_very_next_question() {
    let world = World::chain();
    let watcher = armed(&world);
    for round in 0..200 {
        assert!(watcher.check().unwrap().is_fresh());
        world.leaf_says(&format!("round {round}"));
        assert!(!watcher.check().unwrap().is_fresh(), "round {round}");
        world.leaf_says("one");
        assert!(watcher.check().unwrap().is_fresh(), "round {round}");
        assert!(watcher.is_watching());
    }
}

/// What it is called, how it is made, how it is undone.
type Change<'a> = (&'a str, &'a dyn Fn(), &'a dyn Fn());

#[test]
fn every_kind_of_change_is_heard() {
    let world = World::chain();
    let watcher = armed(&world);
    let changes: [Change<'_>; 8] = [
        (
            "a rename over a file",
            &|| {
                world.write("draft", "pub fn text() -> String { \"two\".to_owned() }\n");
                fs::rename(world.path("draft"), world.path("leaf/src/lib.rs")).unwrap();
            },
            &|| world.leaf_says("one"),
        ),
        (
            "an old mtime",
            &|| world.write_with_old_mtime("leaf/src/lib.rs", "pub fn text() -> String { 5 }\n"),
            &|| world.leaf_says("one"),
        ),
        (
            "a removed folder's folder",
            &|| fs::rename(world.path("leaf"), world.path("gone")).unwrap(),
            &|| fs::rename(world.path("gone"), world.path("leaf")).unwrap(),
        ),
        (
            "configuration that appears in a folder that appears",
            &|| world.write(".cargo/config.toml", "[build]\n"),
            &|| fs::remove_dir_all(world.path(".cargo")).unwrap(),
        ),
        ("a build script that appears", &|| world.write("mid/build.rs", "fn main() {}"), &|| {
            world.remove("mid/build.rs");
        }),
        ("a manifest", &|| world.replace("mid/Cargo.toml", "0.1.0", "0.2.0"), &|| {
            world.replace("mid/Cargo.toml", "0.2.0", "0.1.0");
        }),
        (
            "the binary removed",
            &|| {
                fs::rename(world.path("target/debug/app"), world.path("target/debug/away"))
                    .unwrap();
            },
            &|| {
                fs::rename(world.path("target/debug/away"), world.path("target/debug/app"))
                    .unwrap();
            },
        ),
        (
            "the workspace's folder moved",
            &|| fs::rename(world.path("Cargo.toml"), world.path("Cargo.moved")).unwrap(),
            &|| fs::rename(world.path("Cargo.moved"), world.path("Cargo.toml")).unwrap(),
        ),
    ];
    for (what, change, back) in changes {
        assert!(watcher.check().unwrap().is_fresh(), "before {what}");
        change();
        assert!(!matches!(watcher.check(), Ok(Freshness::Fresh(_))), "{what} went unnoticed");
        back();
        assert!(watcher.check().unwrap().is_fresh(), "after {what}");
    }
}

#[test]
fn a_change_through_another_name_of_a_file_is_seen() {
    let world = World::chain();
    fs::create_dir(world.path("elsewhere")).unwrap();
    fs::hard_link(world.path("leaf/src/lib.rs"), world.path("elsewhere/same.rs")).unwrap();
    let watcher = armed(&world);
    world.write("elsewhere/same.rs", "pub fn text() -> String { \"two\".to_owned() }\n");
    assert!(!watcher.check().unwrap().is_fresh());
}

#[test]
fn more_events_than_are_kept_lead_to_a_full_look() {
    let world = World::chain();
    let watcher = armed(&world);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // Two events for each, about names that do not matter, then the edit that is not told of.
    for n in 0..=limit / 2 {
        let path = world.path(if n % 2 == 0 { "leaf/src/even" } else { "leaf/src/odd" });
        fs::write(&path, "").unwrap();
        fs::remove_file(&path).unwrap();
    }
    world.leaf_says("two");
    assert!(!watcher.check().unwrap().is_fresh());
}

#[test]
fn waiting_ends_when_something_happens_and_not_before() {
    let world = World::chain();
    let watcher = armed(&world);
    assert!(!watcher.wait(Duration::from_millis(50)).unwrap());
    world.write("leaf/src/unused.rs", "no module");
    assert!(!watcher.wait(Duration::from_millis(50)).unwrap());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| watcher.wait(Duration::from_secs(60)).unwrap());
        world.leaf_says("two");
        assert!(waiting.join().unwrap());
    });
    assert!(!watcher.check().unwrap().is_fresh());
}

#[test]
fn after_a_build_it_watches_the_new_inputs() {
    let world = World::chain();
    let watcher = armed(&world);
    world.write("leaf/src/more.rs", "pub const V: &str = \"more\";\n");
    world.write("leaf/src/lib.rs", "mod more; pub fn text() -> String { more::V.to_owned() }\n");
    assert!(!watcher.check().unwrap().is_fresh());
    assert_eq!(world.prints(), "more");
    assert!(watcher.check().unwrap().is_fresh() && watcher.is_watching());
    world.write("leaf/src/more.rs", "pub const V: &str = \"other\";\n");
    assert!(!watcher.check().unwrap().is_fresh());
}
