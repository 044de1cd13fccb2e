use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    lock,
    running::{self, Answer, ask, lost},
};
use crate::{
    Error, Identity, client,
    instance::{self, Instance},
    process::{self, Process},
};

/// What a daemon needs beyond its drain to cut what is left and to exit.
const EXIT_GRACE: Duration = Duration::from_secs(4);
/// From SIGTERM to SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(3);
/// From SIGKILL to giving up.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Most daemons have nothing under way, and end within it.
const MOMENT: Duration = Duration::from_secs(1);

/// The instance ids that were ended last.
const STOPPED: &str = "stopped.json";

/// How a daemon is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Nothing new is accepted; what is under way may go on for this long.
    Drain(Duration),
    /// What is under way is cut, after a moment to say goodbye.
    Now,
}

/// What was there to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Every generation that was alive, draining ones included; empty when none was.
    pub ended: Vec<Identity>,
    /// Whether one of them had to be killed.
    pub killed: bool,
}

/// Ends the daemon `name` of `run_dir` with everything it has started.
pub async fn stop_instance(run_dir: &Path, name: &str, mode: StopMode) -> Result<Stopped, Error> {
    stop(&Instance::new(run_dir, name)?, mode).await
}

/// Ends the daemons of `run_dir` that `filter` chooses, all at once, and says what was ended.
pub async fn stop_all(
    run_dir: &Path,
    filter: impl Fn(&str) -> bool,
    mode: StopMode,
) -> Result<Vec<(String, Stopped)>, Error> {
    let mut stopping = tokio::task::JoinSet::new();
    for instance in instance::all(run_dir) {
        if filter(instance.name()) {
            stopping.spawn(async move {
                let stopped = stop(&instance, mode).await;
                (instance.name().to_owned(), stopped)
            });
        }
    }
    let mut all = Vec::new();
    for (name, stopped) in stopping.join_all().await {
        all.push((name, stopped?));
    }
    all.retain(|(_, stopped)| !stopped.ended.is_empty());
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

pub(crate) async fn stop(instance: &Instance, mode: StopMode) -> Result<Stopped, Error> {
    let nothing = Stopped { ended: Vec::new(), killed: false };
    if !instance.exists() {
        if instance.lost().is_empty() {
            return Ok(nothing);
        }
        instance.create()?;
    }
    // Before the lock: whoever holds it for a start gives that up.
    let wish = instance.want_stop().map_err(|source| {
        Error::io("say that a stop is wanted in", &instance.path("stop.lock"), source)
    })?;
    let (lock, starting) = {
        let locking = lock::lock(instance);
        tokio::pin!(locking);
        tokio::select! {
            biased;
            locked = &mut locking => (locked?, Vec::new()),
            starting = running::starting(instance) => (locking.await?, starting),
        }
    };
    drop(wish);
    let mut ending = begin_end(instance, mode, OnPurpose::Yes).await;
    let is_known = |one: &Identity| ending.generations.iter().any(|known| known.pid == one.pid);
    let given_up: Vec<_> =
        starting.into_iter().filter(|one| !is_known(one) && !one.is_alive()).collect();
    ending.generations.extend(given_up);
    // Others need not wait for what this one waits for: they may start the daemon anew, or have the
    // same end come sooner.
    drop(lock);
    ending.over(instance).await
}

/// Whether a supervisor is to let it be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnPurpose {
    Yes,
    No,
}

/// Whether it ended because somebody asked for that, and not by itself.
pub(super) fn was_stopped(instance: &Instance, identity: &Identity) -> bool {
    let ids: Vec<String> = instance.load(STOPPED).unwrap_or_default();
    ids.contains(&identity.instance_id)
}

/// Ends every generation, with the lock held.
pub(super) async fn end_all(instance: &Instance) -> Result<Stopped, Error> {
    begin_end(instance, StopMode::Now, OnPurpose::No).await.over(instance).await
}

/// Generations that have been told to end.
struct Ending {
    generations: Vec<Identity>,
    under_way: tokio::task::JoinSet<Ended>,
}

/// Tells every generation to end, with the lock held.
async fn begin_end(instance: &Instance, mode: StopMode, on_purpose: OnPurpose) -> Ending {
    let drain = match mode {
        StopMode::Drain(drain) => drain,
        StopMode::Now => Duration::ZERO,
    };
    let mut generations = lost(instance).await;
    let mut answering = Vec::new();
    for generation in instance.generations() {
        match ask(instance, generation).await {
            Ok(Answer::Hello(hello)) => {
                answering.push(generation);
                generations.push(hello.identity);
            }
            Ok(Answer::Silent(identity)) => generations.push(Identity { generation, ..*identity }),
            Ok(Answer::Gone) => instance::remove(&instance.socket(generation)),
            Err(error) => {
                tracing::warn!(%error, generation, "a generation cannot be asked");
                let recorded = instance.current().filter(|one| one.generation == generation);
                generations.extend(recorded.filter(Identity::is_alive));
            }
        }
    }
    if on_purpose == OnPurpose::Yes && !generations.is_empty() {
        // Said before it is done: a supervisor looks as soon as the process has ended.
        let ids: Vec<&str> = generations.iter().map(|one| one.instance_id.as_str()).collect();
        if let Err(error) = instance.store(STOPPED, &ids) {
            tracing::warn!(%error, "a supervisor may start again what is stopped");
        }
    }
    let mut under_way = tokio::task::JoinSet::new();
    // The oldest first: one that could resume must not find its successor gone and do so.
    for identity in &generations {
        let socket = instance.socket(identity.generation);
        let asked =
            answering.contains(&identity.generation) && client::stop(&socket, drain).await.is_ok();
        let patience = if asked { drain + EXIT_GRACE } else { Duration::ZERO };
        under_way.spawn(end(identity.clone(), patience));
    }
    // One that died by itself may have left children behind.
    if let Some(dead) = instance.current().filter(|current| !current.is_alive()) {
        under_way.spawn(end(dead, Duration::ZERO));
    }
    Ending { generations, under_way }
}

impl Ending {
    /// Until all of them have ended. What another starter has started meanwhile is not touched.
    async fn over(self, instance: &Instance) -> Result<Stopped, Error> {
        let (mut killed, mut alive) = (false, Vec::new());
        for outcome in self.under_way.join_all().await {
            match outcome {
                Ended::ByItself => {}
                Ended::Killed => killed = true,
                Ended::Not(pids) => alive.extend(pids),
            }
        }
        if !alive.is_empty() {
            return Err(Error::StillAlive { name: instance.name().to_owned(), pids: alive });
        }
        for ended in &self.generations {
            instance::remove(&instance.socket(ended.generation));
        }
        if let Some(dead) = instance.current().filter(|current| !current.is_alive()) {
            instance.clear_current(&dead);
        }
        Ok(Stopped { ended: self.generations, killed })
    }
}

/// Ends exactly this process and whatever else is in its session, at once: for one that hangs, which
/// must not wake up and act on what has become of its work since.
///
/// `false` where something of it is alive still.
pub async fn kill(identity: &Identity) -> bool {
    if identity.boot_id != process::boot_id() {
        return true;
    }
    process::end_session(identity.pid, identity.start_time, Duration::ZERO, KILL_LIMIT).await
}

enum Ended {
    ByItself,
    Killed,
    Not(Vec<u32>),
}

/// Waits for the process to end by itself for as long as `patience`, then makes its whole session
/// end.
async fn end(identity: Identity, patience: Duration) -> Ended {
    let (pid, start_time) = (identity.pid, identity.start_time);
    if identity.boot_id != process::boot_id() {
        return Ended::ByItself;
    }
    if let Some(process) = Process::open(pid, start_time) {
        let deadline = Instant::now() + patience;
        drop(tokio::time::timeout_at(deadline.into(), process.ended()).await);
    }
    if process::session(pid, start_time).is_empty() {
        return Ended::ByItself;
    }
    if process::end_session(pid, start_time, TERM_GRACE, KILL_LIMIT).await {
        Ended::Killed
    } else {
        Ended::Not(process::session(pid, start_time).into_iter().map(|(pid, _)| pid).collect())
    }
}

/// Has one generation make room for another that cannot take over from it, with the lock held: it
/// accepts nothing any more. What it has begun it finishes within `drain`, and nobody waits for
/// that; one that does not listen is ended.
pub(super) async fn make_room(
    instance: &Instance,
    identity: &Identity,
    drain: Duration,
) -> Result<(), Error> {
    let socket = instance.socket(identity.generation);
    if client::stop(&socket, drain).await.is_ok() {
        let Some(process) = Process::open(identity.pid, identity.start_time) else { return Ok(()) };
        drop(tokio::time::timeout(drain.min(MOMENT), process.ended()).await);
        if process.is_alive() {
            return Ok(());
        }
    }
    end_dead(instance, identity).await
}

/// Ends what is left of a generation, its children included.
pub(super) async fn end_dead(instance: &Instance, identity: &Identity) -> Result<(), Error> {
    match end(identity.clone(), Duration::ZERO).await {
        Ended::Not(pids) => Err(Error::StillAlive { name: instance.name().to_owned(), pids }),
        Ended::ByItself | Ended::Killed => {
            instance::remove(&instance.socket(identity.generation));
            Ok(())
        }
    }
}
