//! Disks that are full, places that cannot be written, builders that are killed.

use std::{
    fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use auto_update::Freshness;

use crate::world::{World, printed};

const CALLER: &str = env!("CARGO_BIN_EXE_auto-update-caller");

/// Every system call by which something comes to lie on the disk, or no longer does.
const WRITES: [&str; 9] = [
    "write",
    "pwrite64",
    "rename",
    "unlink",
    "mkdir",
    "copy_file_range",
    "fchmod",
    "chmod",
    "utimensat",
];

/// A program in the folder of the binary's package, under the workspace's environment.
fn command(world: &World, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(world.path("app")).env_clear().envs(world.environment.vars());
    command
}

/// A shell with mounts of its own, for any user.
///
/// `None` where the system allows that to nobody but those who may do more.
fn with_own_mounts(world: &World, script: &str) -> Option<Output> {
    let own = ["-Urm", "sh", "-ec"];
    let allowed = "mount -t tmpfs -o size=64k none /tmp";
    if !Command::new("unshare")
        .args(own)
        .arg(allowed)
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return None;
    }
    Some(command(world, "unshare").args(own).arg(script).output().unwrap())
}

/// `one` is built and recorded; what the sources say now is `two`, which cargo has built.
struct Halfway {
    world: World,
    records: tempfile::TempDir,
}

impl Halfway {
    fn new() -> Self {
        let world = World::chain();
        world.ensure();
        world.leaf_says("two");
        world.cargo(&["build", "-q", "-p", "app"]);
        let records = tempfile::tempdir().unwrap();
        copy(&world.path("target/.auto-update"), &records.path().join("saved"));
        Self { world, records }
    }

    /// Forgets `two` again.
    fn restore(&self) {
        fs::remove_dir_all(self.world.path("target/.auto-update")).unwrap();
        copy(&self.records.path().join("saved"), &self.world.path("target/.auto-update"));
    }

    /// Builds, with something happening at each of the calls of `name`; returns what came of each.
    fn at_each(&self, name: &str, what: &str) -> Vec<Output> {
        let mut ended = Vec::new();
        loop {
            self.restore();
            let trace = self.world.path("trace");
            let mut traced = command(&self.world, "strace");
            // Not all machines know all of them; `?` leaves out those that are not known.
            let inject = format!("inject=?{name}:{what}:when={}", ended.len() + 1);
            traced.args(["-qq", "-e", &format!("trace=?{name}"), "-e", &inject, "-o"]).arg(&trace);
            let output = traced.args([CALLER, "build"]).output();
            let output = output.expect("`strace` is installed");
            let trace = fs::read_to_string(trace).unwrap();
            if !trace.contains("INJECTED") && output.status.success() {
                return ended;
            }
            self.assert_nothing_false();
            ended.push(output);
        }
    }

    /// Whatever has happened: nothing stale is called fresh, and the next build puts it right.
    #[track_caller]
    fn assert_nothing_false(&self) {
        if let Freshness::Fresh(artifact) = self.world.updater().check().unwrap() {
            assert_eq!(printed(&artifact.path), "two");
        }
        assert_eq!(self.world.prints(), "two");
        self.world.assert_fresh();
        self.world.ensure_with(&self.world.updater().force(true));
        assert_eq!(drafts(&self.world.path("target/.auto-update")), Vec::<String>::new());
    }
}

/// Files that were begun and not finished.
fn drafts(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(drafts(&entry.path()));
        } else if name.starts_with('.') || name.starts_with("draft") {
            found.push(name);
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_builder_killed_at_any_of_its_writes_leaves_nothing_false() {
    let halfway = Halfway::new();
    let mut killed = 0;
    for name in WRITES {
        for output in halfway.at_each(name, "signal=KILL") {
            assert_eq!(output.status.signal(), Some(9), "{name}: {output:?}");
            killed += 1;
        }
    }
    // The lock, the clock, the copy in the store and two receipts.
    assert!(killed > 15, "{killed}");
}

#[test]
fn a_disk_that_is_full_at_any_of_the_writes_is_said_and_leaves_nothing_false() {
    let halfway = Halfway::new();
    let mut said = 0;
    for name in ["write", "pwrite64", "mkdir", "rename", "copy_file_range"] {
        for output in halfway.at_each(name, "error=ENOSPC") {
            let text = String::from_utf8(output.stderr).unwrap();
            if !output.status.success() {
                assert_eq!(output.status.code(), Some(2), "{name}: {text}");
                assert!(text.starts_with("error: cannot "), "{name}: {text}");
                assert!(text.contains("No space left on device"), "{name}: {text}");
                said += 1;
            }
        }
    }
    assert!(said > 8, "{said}");
}

#[test]
fn a_builder_killed_at_any_moment_leaves_nothing_false() {
    const ROUNDS: u64 = 16;
    let world = World::chain();
    world.ensure();
    let (_open, never) = mpsc::channel::<()>();
    for round in 0..ROUNDS {
        let text = format!("round {round}");
        world.leaf_says(&text);
        let mut builder = command(&world, CALLER);
        let mut builder = builder.arg("build").process_group(0).spawn().unwrap();
        // The moment is what is tested, so here a delay is the event.
        never.recv_timeout(Duration::from_millis(25 * round)).unwrap_err();
        // With its cargo and compilers, or without.
        let group = if round % 2 == 0 { "-" } else { "" };
        let target = format!("{group}{}", builder.id());
        Command::new("kill").args(["-9", "--", &target]).stderr(Stdio::null()).status().unwrap();
        builder.wait().unwrap();
        if let Freshness::Fresh(artifact) = world.updater().check().unwrap() {
            assert_eq!(printed(&artifact.path), text);
        }
        assert_eq!(world.prints(), text, "round {round}");
        world.assert_fresh();
    }
}

#[test]
fn a_full_disk_is_a_clear_error_until_there_is_room() {
    let world = World::chain();
    fs::create_dir(world.path("target")).unwrap();
    let script = format!(
        "cd ..; step() {{ {CALLER:?} build app 2>&1 && {CALLER:?} run app 2>&1 || echo \" failed $?\";\n\
         {CALLER:?} check app >/dev/null 2>&1 && echo \" fresh\" || echo \" checked $?\"; echo ----; }}\n\
         for size in 16k 100k 1m 2m 4m 8m 9m 10m 16m; do mount -t tmpfs -o size=$size none target; step; umount target; done\n\
         mount -t tmpfs -o size=100k none target; step; mount -o remount,size=64m target; step"
    );
    let Some(output) = with_own_mounts(&world, &script) else {
        return a_file_that_may_not_grow_is_a_clear_error();
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    let steps: Vec<&str> = text.split("----\n").filter(|step| !step.is_empty()).collect();
    assert_eq!(steps.len(), 11, "{text}");
    for step in &steps {
        if step.contains(" failed ") {
            // Compiler and linker write through mappings, and are killed by a signal that says less.
            let is_said =
                ["No space left on device", "os error 28", "linking with", "could not compile"]
                    .iter()
                    .any(|words| step.contains(words));
            assert!(is_said && step.contains(" failed 2") && step.contains(" checked 1"), "{step}");
        } else {
            assert_eq!(*step, "one fresh\n");
        }
    }
    assert!(steps[0].contains(" failed ") && steps[9].contains(" failed "), "{text}");
    // What failed for want of room is tried again, though no input changed.
    assert_eq!(steps[10], "one fresh\n");
    println!("{text}");
}

#[test]
fn a_file_that_may_not_grow_is_a_clear_error() {
    let halfway = Halfway::new();
    let world = &halfway.world;
    let mut said = Vec::new();
    // In units of 512 bytes: too small for anything, then for a receipt, then enough.
    for blocks in [0, 1, 4, 100, 2_000, 200_000] {
        halfway.restore();
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec {CALLER:?} build");
        let output = command(world, "sh").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(2), "{text}");
            assert!(text.contains("File too large"), "{blocks}: {text}");
            assert_eq!(world.stale(), ["Modified Source leaf/src/lib.rs"]);
            said.push(blocks);
        }
        halfway.assert_nothing_false();
    }
    assert!(said.contains(&0) && said.contains(&4) && !said.contains(&200_000), "{said:?}");
}

#[test]
fn where_nothing_can_be_written_what_is_fresh_is_fresh_and_what_is_stale_is_said() {
    let world = World::chain();
    world.ensure();
    let script = format!(
        "cd ..; mount --bind target target; mount -o remount,ro,bind target\n\
         touch target/x 2>/dev/null && exit 9\n\
         {CALLER:?} run app; echo; touch leaf/src/lib.rs\n\
         {CALLER:?} build app && echo built\n\
         sed -i s/one/two/ leaf/src/lib.rs\n\
         {CALLER:?} check app || echo \"checked $?\"\n\
         {CALLER:?} run app 2>&1 || echo \"ran $?\""
    );
    let (text, reason) = match with_own_mounts(&world, &script) {
        Some(output) => {
            assert!(output.status.success(), "{output:?}");
            (String::from_utf8(output.stdout).unwrap(), "Read-only file system")
        }
        None => {
            let script = script.replace(
                "mount --bind target target; mount -o remount,ro,bind target",
                "chmod -R a-w target",
            );
            let output = command(&world, "sh").args(["-ec", &script]).output().unwrap();
            Command::new("chmod").args(["-R", "u+w"]).arg(world.path("target")).status().unwrap();
            assert!(output.status.success(), "permissions do not bind this user: {output:?}");
            (String::from_utf8(output.stdout).unwrap(), "Permission denied")
        }
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["one", "built"], "{text}");
    assert!(lines[2].starts_with("stale: `app`"), "{text}");
    assert!(
        lines[3].contains("`leaf/src/lib.rs` changed (in leaf, used by mid, used by app)"),
        "{text}"
    );
    assert_eq!(lines[4], "checked 1");
    // The stale binary is there and could be run; it is not.
    assert!(lines[5].starts_with("error: cannot open `") && lines[6].contains(reason), "{text}");
    assert_eq!(lines[7..], ["ran 2"], "{text}");
    assert_eq!(world.prints(), "two");
}

#[test]
fn files_from_the_future_and_from_before_the_epoch_are_judged_by_content() {
    let world = World::chain();
    let stamp = |time: &str| {
        let path = world.path("leaf/src/lib.rs");
        assert!(Command::new("touch").args(["-d", time]).arg(path).status().unwrap().success());
    };
    stamp("2100-01-01");
    world.ensure();
    world.assert_fresh();
    // Cargo compiles it every time: it is always later than what was built.
    let output = world.cargo(&["build", "-p", "app"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Compiling leaf"));
    for (time, text) in [("2100-01-01", "two"), ("1960-01-01", "six"), ("1960-01-01", "ten")] {
        world.leaf_says(text);
        stamp(time);
        world.assert_stale_then_prints(&["Modified Source leaf/src/lib.rs"], text);
    }
    stamp("2100-01-01");
    world.assert_fresh();
    assert!(world.ensure().is_fresh());
}
