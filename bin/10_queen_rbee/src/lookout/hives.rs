use std::{collections::BTreeMap, sync::Arc, time::Duration};

use job_client::EventStream;
use rbee_api::{Hive, HiveState, StreamEvent, paths, seen};
use rbee_config::RbeeConfig;
use reqwest::Method;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Pulse,
    board::{Board, Frame},
};
use crate::Queen;

/// How often a hive is looked at of which nothing is heard: memory has no events.
const ROUND: Duration = Duration::from_secs(5);

/// How soon after something was heard; what is heard until then is seen in the same look.
const SOON: Duration = Duration::from_millis(150);

/// How soon a hive is asked again whose narrations have ended: another one has its place, or will.
const AGAIN: Duration = Duration::from_millis(500);

/// Tells of every configured hive, as the configuration has them at the moment.
pub(super) async fn look(queen: Queen, board: Arc<Board>, pulse: Pulse) {
    let mut known = Vec::new();
    let mut looks = JoinSet::new();
    loop {
        board.put(Frame::of(seen::SETTINGS, "", &settings(&queen.config.current())));
        let aliases = queen.hives.aliases();
        if aliases != known {
            looks.shutdown().await;
            known.iter().for_each(|alias: &String| board.take(seen::HIVE, alias));
            board.put(Frame::of(seen::HIVES, "", &aliases));
            for alias in &aliases {
                let (queen, board) = (queen.clone(), Arc::clone(&board));
                looks.spawn(look_at(queen, alias.clone(), board, pulse.clone()));
            }
            known = aliases;
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// What the configuration sets for single models, as `./rbee config` shows it.
fn settings(config: &RbeeConfig) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for value in config.values() {
        // `model."NAME".KEY`; a name may hold dots and quotes.
        let of_model = value.key.strip_prefix("model.\"").and_then(|rest| rest.rsplit_once("\"."));
        if let Some((name, key)) = of_model {
            all.entry(name).or_default().insert(key, value.value.as_str());
        }
    }
    all
}

/// Tells what the hive says of itself, and what it narrates.
async fn look_at(queen: Queen, alias: String, board: Arc<Board>, pulse: Pulse) {
    let mut felt = pulse.feel();
    let mut told: Option<EventStream> = None;
    let mut due = Instant::now();
    loop {
        tokio::select! {
            narration = next(&mut told) => {
                let wait = match narration {
                    Some(StreamEvent::Narration(text)) => {
                        board.narrate(text.get().to_owned().into());
                        SOON
                    }
                    Some(_) => SOON,
                    None => {
                        told = None;
                        AGAIN
                    }
                };
                due = due.min(Instant::now() + wait);
            }
            Ok(()) = felt.changed() => due = due.min(Instant::now() + SOON),
            () = sleep_until(due) => {
                if let Ok(hive) = queen.hives.hive(queen.pool.places(), &alias).await {
                    if told.is_none() && hive.state == HiveState::Ready {
                        told = listen(&queen, &hive).await;
                    }
                    board.put(Frame::of(seen::HIVE, &alias, &hive));
                }
                due = Instant::now() + ROUND;
            }
        }
    }
}

async fn next(told: &mut Option<EventStream>) -> Option<StreamEvent> {
    match told {
        Some(told) => told.next().await.ok().map(|received| received.event),
        None => std::future::pending().await,
    }
}

/// `None` of a hive that has no such route, or does not answer.
async fn listen(queen: &Queen, hive: &Hive) -> Option<EventStream> {
    let slot = queen.pool.places().slot(&hive.alias);
    let hive = queen.hives.find(&slot).await.ok()??;
    let request = queen.hives.streaming(&hive, Method::GET, paths::EVENTS);
    let response = request.send().await.ok()?;
    (response.status().is_success() && EventStream::is_one(&response))
        .then(|| EventStream::new(response))
}
