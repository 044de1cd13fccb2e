use std::{
    fs,
    future::Future as _,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    pin::pin,
    process::Command,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake},
    thread,
    time::Duration,
};

use auto_update::{BuildEvent, Error};

use crate::world::{World, printed};

/// Makes `cargo` a script that writes a line for each build and then runs the real one.
fn count_builds(world: &mut World) -> PathBuf {
    let log = world.path("builds.log");
    let path = world.environment.get("PATH").unwrap().to_owned();
    let real = std::env::split_paths(&path)
        .map(|dir| dir.join("cargo"))
        .find(|cargo| cargo.is_file())
        .unwrap();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = build ]; then echo build >> {log:?}; fi\nexec {real:?} \"$@\"\n"
    );
    world.write("front/cargo", &script);
    fs::set_permissions(world.path("front/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let dirs = std::iter::once(world.path("front")).chain(std::env::split_paths(&path));
    world.environment = world.environment.clone().set("PATH", std::env::join_paths(dirs).unwrap());
    log
}

fn builds(log: &PathBuf) -> usize {
    fs::read_to_string(log).unwrap_or_default().lines().count()
}

#[test]
fn sixteen_callers_run_one_cargo_and_get_one_binary() {
    let mut world = World::chain();
    let log = count_builds(&mut world);
    world.ensure();
    fs::remove_file(&log).unwrap();
    world.leaf_says("two");
    let barrier = Barrier::new(16);
    let waited_for = Mutex::new(Vec::new());
    let hashes: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let updater = world.updater();
                    barrier.wait();
                    let observer = |event| {
                        if let BuildEvent::WaitingFor { pid } = event {
                            waited_for.lock().unwrap().push(pid);
                        }
                    };
                    updater.ensure_built_with(observer).unwrap().hash
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(builds(&log), 1);
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    let waited_for = waited_for.into_inner().unwrap();
    assert!(
        !waited_for.is_empty() && waited_for.iter().all(|pid| *pid == Some(std::process::id()))
    );
    assert_eq!(world.prints(), "two");
}

#[test]
fn sixteen_processes_run_one_cargo_and_get_one_binary() {
    let mut world = World::chain();
    let log = count_builds(&mut world);
    world.ensure();
    fs::remove_file(&log).unwrap();
    world.leaf_says("two");
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_auto-update-caller"));
            command.arg("run").current_dir(world.path("app"));
            command.env_clear().envs(world.environment.vars());
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for caller in callers {
        let output = caller.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "two");
    }
    assert_eq!(builds(&log), 1);
}

#[test]
fn a_fresh_answer_starts_no_cargo() {
    let mut world = World::chain();
    let log = count_builds(&mut world);
    world.ensure();
    let before = builds(&log);
    for _ in 0..20 {
        assert!(world.ensure().is_fresh());
    }
    assert_eq!(builds(&log), before);
}

#[test]
fn a_fresh_answer_does_not_wait_for_a_cargo_that_holds_the_lock() {
    let world = World::chain();
    world.ensure();
    // A build script that runs until its input closes holds cargo's lock meanwhile.
    let fifo = world.path("gate");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    world.package("slow", "");
    world.write("slow/src/lib.rs", "");
    world.write("slow/build.rs", &format!("fn main() {{ std::fs::write({:?}, \"\").unwrap(); std::fs::read({fifo:?}).unwrap(); }}\n", world.path("started")));
    world.replace("Cargo.toml", "\"leaf\"", "\"leaf\", \"slow\"");
    world.ensure();
    let mut command = Command::new("cargo");
    command.args(["build", "-q", "-p", "slow"]).current_dir(world.root());
    command.env_clear().envs(world.environment.vars());
    let mut outside = command.spawn().unwrap();
    let gate = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    assert!(world.path("started").is_file());
    world.assert_fresh();
    assert!(world.ensure().is_fresh());
    // What is stale waits, and says for what.
    world.leaf_says("two");
    let mut gate = Some(gate);
    let waited = world.updater().ensure_built_with(|event| {
        if let BuildEvent::Line(line) = event
            && line.contains("Blocking waiting for file lock")
        {
            gate = None;
        }
    });
    assert!(gate.is_none(), "it was not said");
    assert_eq!(printed(&waited.unwrap().path), "two");
    assert!(outside.wait().unwrap().success());
}

#[test]
fn an_edit_made_while_it_is_built_is_not_lost() {
    let world = World::chain();
    world.ensure();
    world.leaf_says("two");
    let edited = Mutex::new(false);
    let artifact = world
        .updater()
        .ensure_built_with(|event| {
            let mut edited = edited.lock().unwrap();
            if let BuildEvent::Line(line) = event
                && line.contains("Compiling mid")
                && !*edited
            {
                *edited = true;
                world.leaf_says("three");
            }
        })
        .unwrap();
    assert!(*edited.lock().unwrap());
    assert_eq!(printed(&artifact.path), "three");
    world.assert_fresh();
}

#[test]
fn edits_at_any_moment_of_a_build_are_never_lost() {
    let world = World::chain();
    world.ensure();
    for round in 0..12_u64 {
        world.leaf_says(&format!("before {round}"));
        let after = format!("after {round}");
        let (_open, never) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (world, after) = (&world, &after);
            scope.spawn(move || {
                // The moment is what is tested, so here a delay is the event.
                never.recv_timeout(Duration::from_millis(40 * round)).unwrap_err();
                world.leaf_says(after);
            });
            world.updater().ensure_built_with(|_| {}).unwrap();
        });
        // Whenever it came, the next answer has it.
        assert_eq!(world.prints(), after, "round {round}");
        world.assert_fresh();
    }
}

/// Builds, and writes the whole of what was half written as soon as cargo complains of it.
fn build_while_it_is_written(world: &World, complaint: &str, whole: impl Fn() + Sync) -> String {
    let complaints = AtomicUsize::new(0);
    let built = world.updater().ensure_built_with(|event| {
        if let BuildEvent::Line(line) = event
            && line.contains(complaint)
        {
            complaints.fetch_add(1, Ordering::Relaxed);
            whole();
        }
    });
    assert!(complaints.into_inner() > 0, "it was never half");
    printed(&built.unwrap().path)
}

#[test]
fn a_build_that_fails_by_half_a_file_is_repeated_with_the_whole() {
    let world = World::chain();
    let half = "pub fn text() -> String { \"th";
    // The first build, of which nothing is known.
    world.write("leaf/src/lib.rs", half);
    let whole = || world.leaf_says("three");
    assert_eq!(build_while_it_is_written(&world, "could not compile `leaf`", whole), "three");
    world.write("leaf/src/lib.rs", half);
    let whole = || world.leaf_says("four");
    assert_eq!(build_while_it_is_written(&world, "could not compile `leaf`", whole), "four");
    let manifest = world.read("leaf/Cargo.toml");
    world.leaf_says("five");
    world.write("leaf/Cargo.toml", &manifest[..manifest.len() / 2]);
    let whole = || world.write("leaf/Cargo.toml", &manifest);
    assert_eq!(build_while_it_is_written(&world, "error", whole), "five");
    world.assert_fresh();
}

#[test]
fn a_build_that_fails_and_changes_its_own_sources_ends() {
    let world = World::chain();
    world.ensure();
    world.write(
        "mid/build.rs",
        "fn main() {
            let n = std::fs::read_to_string(\"count\").map_or(0, |n| n.parse::<u32>().unwrap());
            std::fs::write(\"count\", (n + 1).to_string()).unwrap();
        }
",
    );
    world.write("mid/src/lib.rs", "pub fn text() -> String { 5 }\n");
    let failed = world.updater().ensure_built_with(|_| {});
    assert!(matches!(failed, Err(Error::BuildFailed { .. })), "{failed:?}");
    let runs: u32 = world.read("mid/count").parse().unwrap();
    assert!(runs <= 2, "built {runs} times");
}

#[test]
fn edits_in_the_same_tick_of_the_clock_are_seen() {
    let world = World::single("fn main() { print!(\"{}\", include_str!(\"../n\")); }\n");
    world.write("app/n", "00");
    world.ensure();
    for n in 1..60_u32 {
        // The same length, right after a check that found it equal or built it.
        world.write("app/n", &format!("{n:02}"));
        assert_eq!(world.stale(), ["Modified Source app/n"], "edit {n}");
        if n % 20 == 0 {
            assert_eq!(world.prints(), format!("{n:02}"));
        }
    }
}

#[test]
fn a_lock_dies_with_its_owner() {
    let world = World::chain();
    world.ensure();
    world.leaf_says("two");
    let lock = world.path("target/.auto-update/builders/debug.lock");
    let mut owner = Command::new("flock")
        .arg(&lock)
        .args(["-c", "echo held; exec sleep 600"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(owner.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert_eq!(line, "held\n");
    let (told, waits) = mpsc::channel();
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let told = told;
            world.updater().ensure_built_with(|event| {
                if matches!(event, BuildEvent::WaitingFor { .. }) {
                    told.send(()).unwrap();
                }
            })
        });
        waits.recv_timeout(Duration::from_secs(30)).unwrap();
        // The shell that took the lock became `sleep`, which `flock` waits for: end both.
        let children =
            fs::read_to_string(format!("/proc/{0}/task/{0}/children", owner.id())).unwrap();
        for child in children.split_whitespace() {
            assert!(Command::new("kill").args(["-9", child]).status().unwrap().success());
        }
        owner.wait().unwrap();
        assert_eq!(printed(&caller.join().unwrap().unwrap().path), "two");
    });
}

#[test]
fn a_builder_that_is_killed_leaves_the_last_build_whole_and_the_lock_free() {
    let world = World::chain();
    let fifo = world.path("gate");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let before = world.ensure().artifact;
    let started = world.path("started");
    world.write(
        "leaf/build.rs",
        &format!("fn main() {{ std::fs::write({started:?}, \"\").unwrap(); std::fs::read({fifo:?}).unwrap(); }}\n"),
    );
    world.leaf_says("two");
    let mut command = Command::new(env!("CARGO_BIN_EXE_auto-update-caller"));
    command.arg("build").current_dir(world.path("app"));
    command.env_clear().envs(world.environment.vars());
    let mut builder = command.spawn().unwrap();
    // Opens once the build script, which cargo runs, has opened its side.
    let gate = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    assert!(started.is_file());
    builder.kill().unwrap();
    builder.wait().unwrap();
    assert_eq!(world.updater().last_good().unwrap(), Some(before));
    assert_eq!(
        world.stale(),
        ["Appeared Manifest leaf/build.rs", "Modified Source leaf/src/lib.rs"]
    );
    // The orphaned cargo ends by itself; whoever builds next waits for it.
    drop(gate);
    world.write("leaf/build.rs", "fn main() {}\n");
    assert_eq!(world.prints(), "two");
    world.assert_fresh();
}

#[test]
fn an_interrupted_build_is_no_failure_and_leaves_nothing_half_made() {
    let mut world = World::chain();
    world.ensure();
    let real = world.environment.clone();
    world.write("front/cargo", "#!/bin/sh\nkill -INT $$\n");
    fs::set_permissions(world.path("front/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    world.environment = real.clone().set("PATH", world.path("front"));
    world.leaf_says("two");
    let error = world.updater().ensure_built_with(|_| {}).unwrap_err();
    assert!(matches!(error, auto_update::Error::Interrupted { signal: 2, .. }), "{error}");
    world.environment = real;
    assert_eq!(world.prints(), "two");
    world.assert_fresh();
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_build_can_be_awaited_without_any_runtime() {
    let world = World::chain();
    let mut pending = pin!(world.updater().ensure_built());
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let artifact = loop {
        match pending.as_mut().poll(&mut context) {
            Poll::Ready(artifact) => break artifact.unwrap(),
            Poll::Pending => thread::park_timeout(Duration::from_secs(60)),
        }
    };
    assert_eq!(printed(&artifact.path), "one");
}
