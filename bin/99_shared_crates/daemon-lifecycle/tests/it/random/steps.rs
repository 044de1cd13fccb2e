use std::{fs, time::Duration};

use daemon_lifecycle::StopMode;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Random, Scene};
use crate::world::kill;

/// Something that happens, whatever happened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Edit(Edit),
    Signal(Signalled),
    /// Of the daemon's files, below the run folder.
    Remove(&'static str),
    StopAndStart {
        now: bool,
    },
    /// Several starters at once, after an edit.
    StartTogether,
    /// An edit, and a starter that is killed before it is done.
    KillStarter,
}

/// What the newest sources make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Good,
    SlowToStart,
    DoesNotCompile,
    ExitsAtStart,
    FailsAtStart,
    DiesWhenReady,
    DiesLater,
    Answers500Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signalled {
    Kill,
    Stop,
    StopForAMoment,
    HangUp,
    Quit,
    User,
}

const STEPS: [Step; 22] = [
    Step::Edit(Edit::Good),
    Step::Edit(Edit::Good),
    Step::Edit(Edit::SlowToStart),
    Step::Edit(Edit::DoesNotCompile),
    Step::Edit(Edit::ExitsAtStart),
    Step::Edit(Edit::FailsAtStart),
    Step::Edit(Edit::DiesWhenReady),
    Step::Edit(Edit::DiesLater),
    Step::Edit(Edit::Answers500Later),
    Step::Signal(Signalled::Kill),
    Step::Signal(Signalled::Stop),
    Step::Signal(Signalled::StopForAMoment),
    Step::Signal(Signalled::HangUp),
    Step::Signal(Signalled::Quit),
    Step::Signal(Signalled::User),
    Step::Remove(""),
    Step::Remove("fake"),
    Step::Remove("fake/current.json"),
    Step::StopAndStart { now: false },
    Step::StopAndStart { now: true },
    Step::StartTogether,
    Step::KillStarter,
];

pub(super) fn good(version: &str) -> Value {
    // It looks after itself, as the daemons of a chain do.
    json!({ "version": version, "keep_fresh_trust_ms": 0 })
}

impl Step {
    pub(super) fn any(random: &mut Random) -> Self {
        STEPS[random.below(STEPS.len())]
    }

    /// Whether a client may be told that something went wrong: nobody was to serve, or a process that
    /// had its request was killed, or was bad and had not shown it yet.
    pub(super) fn may_break(self) -> bool {
        match self {
            Self::Edit(edit) => {
                matches!(edit, Edit::DiesWhenReady | Edit::DiesLater | Edit::Answers500Later)
            }
            Self::Signal(signal) => {
                matches!(signal, Signalled::Kill | Signalled::Stop | Signalled::Quit)
            }
            Self::StopAndStart { .. } => true,
            Self::Remove(_) | Self::StartTogether | Self::KillStarter => false,
        }
    }

    pub(super) async fn make(self, scene: &mut Scene, random: &mut Random) {
        match self {
            Self::Edit(edit) => {
                edit.make(scene);
                // By itself, or when somebody starts it at some moment.
                tokio::time::sleep(Duration::from_millis(random.below(1500) as u64)).await;
            }
            Self::Signal(signal) => signal.send(scene, random).await,
            Self::Remove(what) => {
                let path = scene.world.run_dir().join(what);
                // It may be on its way back since the last time, and somebody may write into it.
                for _ in 0..100 {
                    let removed = match path.is_dir() {
                        true => fs::remove_dir_all(&path),
                        false => fs::remove_file(&path),
                    };
                    if removed.is_ok() || !path.exists() {
                        return;
                    }
                }
                panic!("`{}` cannot be removed", path.display());
            }
            Self::StopAndStart { now } => {
                let mode =
                    if now { StopMode::Now } else { StopMode::Drain(Duration::from_secs(5)) };
                scene.manager().stop(mode).await.unwrap();
            }
            Self::StartTogether => {
                Edit::Good.make(scene);
                let starts = (0..3).map(|_| scene.manager());
                let starts: Vec<_> = starts
                    .map(|manager| tokio::spawn(async move { manager.spawn().await.map(drop) }))
                    .collect();
                for start in starts {
                    start.await.unwrap().unwrap();
                }
            }
            Self::KillStarter => {
                Edit::Good.make(scene);
                let mut starter = scene.world.starter(&scene.manager(), None);
                tokio::time::sleep(Duration::from_millis(random.below(2000) as u64)).await;
                // It may be done already.
                starter.start_kill().unwrap_or(());
                starter.wait().await.unwrap();
            }
        }
    }
}

impl Edit {
    fn make(self, scene: &mut Scene) {
        let version = scene.next_version();
        let mut script = good(&version);
        let mut set = |name: &str, value: Value| script[name] = value;
        match self {
            Self::Good => {}
            Self::SlowToStart => set("ready_after_ms", 1500.into()),
            Self::DoesNotCompile => return scene.tree.break_source(),
            Self::ExitsAtStart => set("exit_before_ready", 3.into()),
            Self::FailsAtStart => set("fail", "it cannot be".into()),
            Self::DiesWhenReady => set("die_when_ready", true.into()),
            Self::DiesLater => set("die_after_serving_ms", 200.into()),
            Self::Answers500Later => set("answer_500_after_serving_ms", 100.into()),
        }
        scene.tree.edit(script);
        if matches!(self, Self::Good | Self::SlowToStart) {
            scene.good = version;
        }
    }
}

impl Signalled {
    async fn send(self, scene: &Scene, random: &mut Random) {
        let processes = scene.world.processes();
        let pid = processes[random.below(processes.len())];
        match self {
            Self::Kill => kill(pid, Signal::KILL),
            Self::Stop => kill(pid, Signal::STOP),
            Self::StopForAMoment => {
                kill(pid, Signal::STOP);
                tokio::time::sleep(Duration::from_millis(300)).await;
                kill(pid, Signal::CONT);
            }
            Self::HangUp => kill(pid, Signal::HUP),
            Self::Quit => kill(pid, Signal::QUIT),
            Self::User => kill(pid, Signal::USR1),
        }
    }
}
