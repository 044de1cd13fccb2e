use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, ensure};
use auto_update::BuildEvent;

use crate::{
    programs::{self, BUILD},
    scene::Scene,
};

/// More than there are processors, so that all are wanted.
const CRATES: usize = 8;
/// In each of them, so that a build takes seconds.
const FUNCTIONS: usize = 400;

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builder {
    /// auto-update as the chain uses it: at idle priority.
    Chain,
    /// `cargo build` as a person types it.
    Person,
}

/// Builds that follow one another until they are stopped, each after an edit of every crate.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    compiling: Receiver<()>,
    thread: JoinHandle<anyhow::Result<u32>>,
}

impl Load {
    /// Begins to build, and returns when something is being compiled.
    pub(crate) fn start(scene: &Arc<Scene>, builder: Builder) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (announce, compiling) = sync_channel(1);
        let thread = {
            let (scene, stop) = (Arc::clone(scene), Arc::clone(&stop));
            thread::spawn(move || build_on(&scene, builder, &stop, &announce))
        };
        let load = Self { stop, compiling, thread };
        match load.compiling.recv() {
            Ok(()) => Ok(load),
            // The thread is gone: its error says why.
            Err(_) => Err(load.finish().err().context("the builds ended before they began")?),
        }
    }

    /// Stops after the build that is under way. Returns how many there were, with that one.
    pub(crate) fn finish(self) -> anyhow::Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the thread that builds does not panic")
    }
}

fn build_on(
    scene: &Scene,
    builder: Builder,
    stop: &AtomicBool,
    announce: &SyncSender<()>,
) -> anyhow::Result<u32> {
    let mut builds = 0;
    while builds == 0 || !stop.load(Ordering::Relaxed) {
        builds += 1;
        // Unlike all before: auto-update would remember it.
        scene.edit_anew()?;
        match builder {
            Builder::Chain => {
                let updater = scene.updater()?.idle_priority(true);
                updater.ensure_built_with(|event| {
                    if let BuildEvent::Line(line) = event {
                        hear(&line, announce);
                    }
                })?;
            }
            Builder::Person => {
                let mut cargo = programs::command("cargo", &BUILD, scene.root());
                let mut child = cargo.stderr(Stdio::piped()).spawn().context("cannot run cargo")?;
                let lines = child.stderr.take().map(BufReader::new);
                for line in lines.into_iter().flat_map(|lines| lines.lines()) {
                    hear(&line.context("cannot read what cargo says")?, announce);
                }
                let status = child.wait().context("cannot wait for cargo")?;
                ensure!(status.success(), "cargo ended with {status}");
            }
        }
    }
    Ok(builds)
}

fn hear(line: &str, announce: &SyncSender<()>) {
    if line.contains("Compiling") {
        // Said once is enough.
        announce.try_send(()).unwrap_or(());
    }
}

pub(crate) fn scene() -> anyhow::Result<Arc<Scene>> {
    let scene = Scene::of_work(CRATES, FUNCTIONS)?;
    scene.updater()?.ensure_built_with(|_| {})?;
    Ok(Arc::new(scene))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn both_builders_compile_what_was_edited_until_they_are_stopped() {
        let scene = Arc::new(Scene::of_work(2, 3).unwrap());
        for builder in [Builder::Chain, Builder::Person] {
            let edit = || fs::read_to_string(scene.root().join("part1/src/edit.rs")).unwrap();
            let before = edit();
            let load = Load::start(&scene, builder).unwrap();
            assert!(load.finish().unwrap() >= 1);
            assert_ne!(edit(), before, "{builder:?}");
        }
    }

    #[test]
    fn a_build_that_fails_ends_the_load_with_what_failed() {
        for builder in [Builder::Chain, Builder::Person] {
            let scene = Arc::new(Scene::of_work(1, 1).unwrap());
            fs::write(scene.root().join("app/Cargo.toml"), "no manifest").unwrap();
            let error = Load::start(&scene, builder).unwrap_err();
            assert!(!error.to_string().is_empty(), "{builder:?}");
        }
    }
}
