use std::time::Duration;

use narration_core::{Level, Narration, lines::DAEMON_LIFECYCLE};
use rustix::process::Signal;

use crate::{
    Error,
    instance::{Holder, Instance, Lock},
    process::{self, Process},
};

/// Whoever waits longer is told for whom.
const SILENCE: Duration = Duration::from_secs(1);

/// A holder that has been suspended for this long is made to go on.
const SUSPENDED: Duration = Duration::from_secs(2);

/// Between two looks whether a start is to be given up: the kernel tells nobody of a lock.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// Takes the lock of the instance, and says for whom it waits.
///
/// Holders have to do with their own daemon's start only, which has its deadlines and is given up
/// where somebody [wants a stop](Instance::want_stop). One that somebody suspended (Ctrl-Z) has none,
/// and everybody would wait for a person to come back: it is continued.
pub(super) async fn lock(instance: &Instance) -> Result<Lock, Error> {
    let waiting = instance.lock();
    tokio::pin!(waiting);
    if let Ok(locked) = tokio::time::timeout(SILENCE, &mut waiting).await {
        return locked;
    }
    let mut told = None;
    loop {
        if let Some(holder) = instance.holder()
            && told.as_ref() != Some(&holder)
        {
            let pid = holder.pid;
            say(
                instance,
                Level::Info,
                format!("Waiting for process {pid}, which starts, replaces or stops"),
            );
            told = Some(holder);
        }
        if let Ok(locked) = tokio::time::timeout(SUSPENDED, &mut waiting).await {
            return locked;
        }
        if let Some(holder) = instance.holder() {
            go_on(instance, &holder);
        }
    }
}

/// Until somebody waits for the lock to stop the daemon.
pub(super) async fn stop_wanted(instance: &Instance) {
    while !instance.is_stop_wanted() {
        tokio::time::sleep(STOP_LOOK).await;
    }
}

fn go_on(instance: &Instance, holder: &Holder) {
    let stat = process::stat(holder.pid);
    if stat.is_some_and(|stat| stat.suspended && stat.start_time == holder.start_time)
        && let Some(process) = Process::open(holder.pid, holder.start_time)
    {
        let pid = holder.pid;
        say(instance, Level::Warn, format!("Continuing process {pid}, suspended at work on"));
        process.signal(Signal::CONT);
    }
}

fn say(instance: &Instance, level: Level, what: String) {
    let name = instance.name();
    let human = format!("{what} '{name}'");
    Narration::new(DAEMON_LIFECYCLE, "wait", human).level(level).about(name).emit();
}
