//! Builds that give way, and that end with whoever started them.

use std::{
    fs::{self, File},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process, kill_process_group},
};

use crate::world::{World, printed};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

#[test]
fn it_is_idle_down_to_the_compiler_and_leaves_its_caller_as_it_was() {
    let world = World::single("fn main() { print!(\"{}\", env!(\"PRIORITY\")); }\n");
    world.write(
        "app/build.rs",
        "fn main() {\n    \
         let stat = std::fs::read_to_string(\"/proc/self/stat\").unwrap();\n    \
         let class = stat.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap();\n    \
         let group = std::fs::read_to_string(\"/proc/self/autogroup\").unwrap_or_default();\n    \
         let share = group.rsplit(' ').next().unwrap().trim();\n    \
         println!(\"cargo:rustc-env=PRIORITY={class} {share}\");\n}\n",
    );
    let own = || {
        let class = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let class =
            class.rsplit(')').next().unwrap().split_whitespace().nth(38).unwrap().to_owned();
        (class, fs::read_to_string("/proc/self/autogroup").unwrap_or_default())
    };
    let before = own();
    let idle = world.updater().idle_priority(true);
    // The scheduling policy, by number: 5 is the idle class.
    let expected = if has_shares() { ["5 19", "0 10"] } else { ["5 0", "0 0"] };
    let printed = printed(&world.ensure_with(&idle).artifact.path);
    // On a machine that is busy for long it has aged, which still gives way.
    assert!(expected.contains(&printed.as_str()), "{printed}");
    assert_eq!(own(), before);
    assert_eq!(before.0, "0");
}

#[test]
fn it_ends_with_a_caller_that_is_killed() {
    let build = Build::start();
    kill_process(build.caller_id(), Signal::KILL).unwrap();
    build.ended_by(Signal::KILL);
}

#[test]
fn it_ends_with_a_caller_that_a_service_manager_stops() {
    let build = Build::start();
    kill_process(build.caller_id(), Signal::TERM).unwrap();
    build.ended_by(Signal::TERM);
}

#[test]
fn what_does_not_heed_signals_ends_too() {
    let build = Build::start_with(|fifo| {
        let deaf = format!("trap '' HUP INT TERM; read line < {}", fifo.display());
        format!("std::process::Command::new(\"sh\").args([\"-c\", {deaf:?}]).status().unwrap();")
    });
    kill_process(build.caller_id(), Signal::KILL).unwrap();
    build.ended_by(Signal::KILL);
}

#[test]
fn it_ends_by_ctrl_c() {
    let build = Build::start();
    // What a terminal does, to all of its foreground.
    kill_process_group(build.caller_id(), Signal::INT).unwrap();
    build.ended_by(Signal::INT);
}

#[test]
fn it_ends_by_what_its_callers_group_is_sent_though_the_caller_goes_on() {
    if !has_shares() {
        // In the same process group, it is sent it itself.
        return;
    }
    let build = Build::start();
    let id = build.caller.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let guard = children.split_whitespace().find(|child| {
        let command = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
        command.contains("idle-build-guard")
    });
    let guard = guard.unwrap().parse().unwrap();
    kill_process(Pid::from_raw(guard).unwrap(), Signal::INT).unwrap();
    let caller = build.end();
    assert_eq!(caller.status.code(), Some(2), "{caller:?}");
    let said = String::from_utf8(caller.stderr).unwrap();
    assert!(said.contains("interrupted"), "{said}");
}

/// An idle build, started by a process of its own, whose build script waits for something that
/// never comes.
struct Build {
    _world: World,
    caller: Child,
    /// The build script reads from the other end.
    gate: File,
}

impl Build {
    fn start() -> Self {
        Self::start_with(|fifo| format!("std::fs::read({fifo:?}).unwrap();"))
    }

    /// With a build script that `waits` on the fifo.
    fn start_with(waits: impl Fn(&Path) -> String) -> Self {
        let world = World::single("fn main() {}\n");
        let fifo = world.path("gate");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        world.write("app/build.rs", &format!("fn main() {{ {} }}\n", waits(&fifo)));
        let mut command = Command::new(env!("CARGO_BIN_EXE_auto-update-caller"));
        command.arg("build-idle").current_dir(world.path("app"));
        command.env_clear().envs(world.environment.vars()).process_group(0);
        let caller = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Opens once the build script has opened its end.
        let gate = File::options().write(true).open(&fifo).unwrap();
        Self { _world: world, caller, gate }
    }

    fn caller_id(&self) -> Pid {
        Pid::from_child(&self.caller)
    }

    /// Waits for the end of the build script and of the caller.
    fn end(self) -> std::process::Output {
        let mut gate = [PollFd::new(&self.gate, PollFlags::empty())];
        assert_eq!(poll(&mut gate, Some(&PATIENCE)), Ok(1), "the build script goes on");
        assert!(gate[0].revents().contains(PollFlags::ERR));
        self.caller.wait_with_output().unwrap()
    }

    #[track_caller]
    fn ended_by(self, signal: Signal) {
        let caller = self.end();
        assert_eq!(caller.status.signal(), Some(signal.as_raw()), "{caller:?}");
    }
}

fn has_shares() -> bool {
    fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").is_ok_and(|on| on == "1\n")
}
