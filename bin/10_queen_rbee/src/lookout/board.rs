use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use rbee_api::{UnderWay, seen};
use serde::Serialize;
use tokio::sync::broadcast;

use super::Pulse;

/// What is kept for somebody who is slow; who is slower begins anew.
const QUEUE: usize = 512;

pub(super) type Changes = broadcast::Receiver<Frame>;

/// One thing that is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) name: &'static str,
    /// What it is told of; the next frame of that name and key takes its place.
    key: String,
    pub(crate) told: Told,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Told {
    /// JSON, the same for everybody.
    Text(Bytes),
    /// Of which not everybody is told all.
    Requests(Vec<UnderWay>),
}

/// What is so, by its name and key.
#[derive(Debug)]
pub(super) struct Board {
    now: Mutex<BTreeMap<(&'static str, String), Frame>>,
    changes: broadcast::Sender<Frame>,
}

impl Frame {
    pub(super) fn of(name: &'static str, key: &str, data: &impl Serialize) -> Self {
        let text = serde_json::to_string(data).expect("wire types hold only strings and numbers");
        Self { name, key: key.to_owned(), told: Told::Text(text.into()) }
    }

    pub(super) fn requests(under_way: Vec<UnderWay>) -> Self {
        Self { name: seen::REQUESTS, key: String::new(), told: Told::Requests(under_way) }
    }
}

impl Board {
    pub(super) fn new() -> Self {
        Self { now: Mutex::default(), changes: broadcast::Sender::new(QUEUE) }
    }

    /// What is so from now on; told only where it was not so before.
    pub(super) fn put(&self, frame: Frame) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (frame.name, frame.key.clone());
        if now.get(&key) != Some(&frame) {
            now.insert(key, frame.clone());
            // There may be nobody yet.
            drop(self.changes.send(frame));
        }
    }

    /// Forgets what is of that name and key.
    pub(super) fn take(&self, name: &'static str, key: &str) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.remove(&(name, key.to_owned()));
    }

    /// What happened, and is over.
    pub(super) fn narrate(&self, narration: Bytes) {
        let told = Told::Text(narration);
        drop(self.changes.send(Frame { name: seen::NARRATION, key: String::new(), told }));
    }

    pub(super) fn listen(&self) -> (Vec<Frame>, Changes) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        (now.values().cloned().collect(), self.changes.subscribe())
    }
}

/// Tells of what this process narrates.
pub(super) async fn narrations(
    mut told: broadcast::Receiver<Bytes>,
    board: Arc<Board>,
    pulse: Pulse,
) {
    loop {
        match told.recv().await {
            Ok(narration) => {
                board.narrate(narration);
                pulse.beat();
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
