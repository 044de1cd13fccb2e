use std::time::Duration;

use daemon_lifecycle::Member;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Engine;
use crate::upstream::Ping;

/// How often the engine is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often it is written down which shared memory it has, which costs some milliseconds.
const NOTE_INTERVAL: Duration = Duration::from_secs(30);

/// An engine that refuses, or answers with an error, so often in a row is fit no more.
const REFUSALS: u32 = 3;

/// One that only does not answer may have a busy machine.
const UNANSWERED: Duration = Duration::from_secs(60);

/// Resolves when the engine is fit no more, with the reason.
pub(super) async fn failed(engine: &Engine) -> String {
    tokio::select! {
        () = engine.record.program.ended() => format!("{} has ended", engine.title),
        lost = a_process_is_lost(engine) => {
            format!("{} goes on without its process {} (`{}`)", engine.title, lost.pid, lost.name)
        }
        why = answers_no_more(engine) => format!("{} {why}", engine.title),
    }
}

/// An engine answers that it is well while one of its processes is dead.
async fn a_process_is_lost(engine: &Engine) -> Member {
    if engine.needs.is_none() {
        return std::future::pending().await;
    }
    // An engine that serves nobody is taken for ready when it has the first of them.
    let mut known = engine.record.needed.clone();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(lost) = known.iter().find(|member| !member.is_alive()) {
            return lost.clone();
        }
        for member in engine.needed() {
            if known.iter().all(|other| other.pid != member.pid) {
                known.push(member);
            }
        }
    }
}

async fn answers_no_more(engine: &Engine) -> String {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut refused, mut well, mut noted) = (0, Instant::now(), Instant::now());
    loop {
        ticks.tick().await;
        drop(engine.log.lock().map(|mut log| log.look().is_some()));
        if noted.elapsed() > NOTE_INTERVAL {
            engine.note_shared();
            noted = Instant::now();
        }
        let Some(path) = &engine.ready_path else { continue };
        match engine.upstream.ping(path).await {
            Ping::Well => (refused, well) = (0, Instant::now()),
            Ping::Refused(why) => {
                refused += 1;
                if refused == REFUSALS {
                    return format!("answers no more: {why}");
                }
            }
            Ping::Silent if well.elapsed() > UNANSWERED => {
                return format!("has not answered for {} s", well.elapsed().as_secs());
            }
            Ping::Silent => {}
        }
    }
}
