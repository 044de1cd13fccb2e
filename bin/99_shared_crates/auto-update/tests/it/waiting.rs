//! Builds that somebody waits for, and builds that nobody needs any more.

use std::{fs, process::Command, sync::mpsc, thread, time::Duration};

use auto_update::{BuildEvent, Error};

use crate::world::{World, printed};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A build script that says that it runs, goes on until it has the usual priority, and tells which
/// it had at first and at last.
const WATCHES_ITS_PRIORITY: &str = r#"
fn priority() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let class = stat.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().to_owned();
    let group = std::fs::read_to_string("/proc/self/autogroup").unwrap_or_default();
    format!("{class} {}", group.rsplit(' ').next().unwrap().trim())
}
fn main() {
    let first = priority();
    std::fs::write(STARTED, "").unwrap();
    for _ in 0..6000 {
        if matches!(priority().as_str(), "0 0" | "0 ") { break; }
        // Nobody tells a process of its priority.
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    println!("cargo:rustc-env=PRIORITIES={first}, {}", priority());
}
"#;

fn watches_its_priority() -> World {
    let world = World::single("fn main() { print!(\"{}\", env!(\"PRIORITIES\")); }\n");
    let started = format!("{:?}", world.path("started"));
    world.write("app/build.rs", &WATCHES_ITS_PRIORITY.replace("STARTED", &started));
    let started = world.path("started");
    assert!(Command::new("mkfifo").arg(&started).status().unwrap().success());
    world
}

/// The idle build, as the build script saw it: at first it gave way.
#[track_caller]
fn assert_raised(printed: &str) {
    let (first, last) = printed.split_once(", ").unwrap();
    assert!(first != "0 0" && first != "0 ", "{printed}");
    assert!(last == "0 0" || last == "0 ", "{printed}");
}

#[test]
fn a_build_for_nobody_is_raised_with_all_that_it_has_started_when_somebody_comes_to_wait() {
    let world = watches_its_priority();
    thread::scope(|scope| {
        let (told, raised) = mpsc::channel();
        let idle = world.updater().idle_priority(true);
        let builder = scope.spawn(move || {
            idle.ensure_built_with(|event| {
                if event == BuildEvent::Raised {
                    told.send(()).unwrap();
                }
            })
        });
        // Opens once the build script runs.
        fs::read(world.path("started")).unwrap();
        let waiter = scope.spawn(|| world.updater().ensure_built_with(|_| {}));
        raised.recv_timeout(PATIENCE).unwrap();
        let waited = waiter.join().unwrap().unwrap();
        assert_eq!(builder.join().unwrap().unwrap(), waited);
        assert_raised(&printed(&waited.path));
    });
}

#[test]
fn a_build_for_nobody_is_raised_for_whoever_waits_for_its_builder() {
    let world = watches_its_priority();
    thread::scope(|scope| {
        let idle = world.updater().idle_priority(true);
        let builder = scope.spawn(move || idle.ensure_built_with(|_| {}));
        fs::read(world.path("started")).unwrap();
        let hurry = world.updater().hurry().unwrap();
        let built = builder.join().unwrap().unwrap();
        drop(hurry);
        assert_raised(&printed(&built.path));
    });
}

#[test]
fn a_build_for_nobody_is_raised_for_a_cargo_of_a_person_s_own() {
    let world = watches_its_priority();
    thread::scope(|scope| {
        let idle = world.updater().idle_priority(true);
        let builder = scope.spawn(move || idle.ensure_built_with(|_| {}));
        fs::read(world.path("started")).unwrap();
        let cargo = scope.spawn(|| world.cargo(&["build"]));
        assert_raised(&printed(&builder.join().unwrap().unwrap().path));
        cargo.join().unwrap();
    });
}

/// A binary whose build never ends while `text` says "two".
fn may_hang() -> World {
    let world = World::single("fn main() { print!(\"{}\", include_str!(\"../text\")); }\n");
    let (gate, started) = (world.path("gate"), world.path("started"));
    for fifo in [&gate, &started] {
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
    }
    world.write("app/text", "one");
    world.write(
        "app/build.rs",
        &format!(
            "fn main() {{\n    println!(\"cargo:rerun-if-changed=text\");\n    \
             if std::fs::read_to_string(\"text\").unwrap() == \"two\" {{\n        \
             std::fs::write({started:?}, \"\").unwrap();\n        \
             std::fs::read({gate:?}).unwrap();\n    }}\n}}\n"
        ),
    );
    world
}

/// Edits `text` to `after` while the build for "two" hangs; says what is answered then.
fn overtaken(idle: bool, after: &str) -> (World, String, Vec<BuildEvent>) {
    let world = may_hang();
    world.ensure();
    world.write("app/text", "two");
    let mut events = Vec::new();
    let answer = thread::scope(|scope| {
        let updater = world.updater().idle_priority(idle);
        let events = &mut events;
        let builder = scope.spawn(move || updater.ensure_built_with(|event| events.push(event)));
        fs::read(world.path("started")).unwrap();
        world.write("app/text", after);
        printed(&builder.join().unwrap().unwrap().path)
    });
    (world, answer, events)
}

#[test]
fn a_build_ends_when_its_inputs_change_again_and_the_next_one_begins() {
    for idle in [true, false] {
        let (world, answer, events) = overtaken(idle, "three");
        assert_eq!(answer, "three");
        assert!(events.contains(&BuildEvent::Overtaken), "{events:?}");
        assert!(matches!(events.last(), Some(BuildEvent::Finished { .. })), "{events:?}");
        world.assert_fresh();
    }
}

#[test]
fn a_build_ends_when_its_inputs_are_fresh_again() {
    let (world, answer, events) = overtaken(true, "one");
    assert_eq!(answer, "one");
    assert_eq!(events[events.len() - 2..], [BuildEvent::Overtaken, BuildEvent::Fresh]);
    world.assert_fresh();
}

#[test]
fn a_build_that_writes_what_it_is_built_from_comes_to_an_end() {
    let world = World::single("fn main() { print!(\"{}\", include!(\"made.rs\")); }\n");
    world.write("app/src/made.rs", "0u128");
    world.write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo:rerun-if-changed=text\");\n    \
         let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();\n    \
         std::fs::write(\"src/made.rs\", format!(\"{}u128\", now.as_nanos())).unwrap();\n}\n",
    );
    world.write("app/text", "one");
    world.ensure();
    world.write("app/text", "two");
    let built = world.ensure();
    assert!(built.events.iter().filter(|event| **event == BuildEvent::Overtaken).count() <= 5);
}

#[test]
fn a_build_ends_when_its_workspace_is_moved_away() {
    for has_been_built in [false, true] {
        let world = may_hang();
        if has_been_built {
            world.ensure();
        }
        world.write("app/text", "two");
        let away = tempfile::tempdir().unwrap();
        let error = thread::scope(|scope| {
            let updater = world.updater();
            let builder = scope.spawn(move || updater.ensure_built_with(|_| {}));
            fs::read(world.path("started")).unwrap();
            fs::rename(world.root(), away.path().join("moved")).unwrap();
            builder.join().unwrap().unwrap_err()
        });
        fs::rename(away.path().join("moved"), world.root()).unwrap();
        assert!(matches!(error, Error::NoWorkspace { .. }), "{error}");
    }
}
