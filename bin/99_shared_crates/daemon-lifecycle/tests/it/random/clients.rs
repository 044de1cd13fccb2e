use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::http::{Client, chunk};

const TOKENS: u32 = 20;
const TOKEN_MS: u64 = 40;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(10);

/// What became of requests and streams.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Answers that a client takes for whole and good, and that are not.
    pub(super) wrong: Vec<String>,
    /// What a client knows to be broken: no connection, or one that was cut; a refusal.
    pub(super) broken: Vec<String>,
}

/// Clients that ask again and again, each time on a connection of its own, and others that read
/// streams.
pub(super) struct Clients {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    over: AtomicBool,
    /// How many answers each client has had, whatever they were.
    rounds: [AtomicU64; 4],
    answers: AtomicU64,
    streams: AtomicU64,
}

impl Clients {
    pub(super) fn start(address: &str) -> Self {
        let (shared, mut tasks) = (Arc::new(Shared::default()), JoinSet::new());
        for client in 0..4 {
            let (shared, address) = (Arc::clone(&shared), address.to_owned());
            tasks.spawn(async move {
                while !shared.over.load(Ordering::Relaxed) {
                    if client % 2 == 0 {
                        ask(&address, &shared).await;
                    } else {
                        stream(&address, &shared).await;
                    }
                    tokio::time::sleep(PAUSE).await;
                    shared.rounds[client].fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { shared, tasks }
    }

    /// What was seen since the last time, once each client has had an answer that it asked for from
    /// now on.
    pub(super) async fn since(&self, limit: Duration) -> Result<Seen, String> {
        let rounds = || self.shared.rounds.each_ref().map(|rounds| rounds.load(Ordering::Relaxed));
        let (before, deadline) = (rounds(), Instant::now() + limit);
        // The one under way was asked for before.
        while !rounds().iter().zip(before).all(|(now, then)| *now >= then + 2) {
            if Instant::now() > deadline {
                return Err(format!("a client waits for an answer: {before:?}, {:?}", rounds()));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(std::mem::take(&mut *self.shared.seen.lock().unwrap()))
    }

    pub(super) async fn end(self) -> (u64, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.shared.answers), count(&self.shared.streams))
    }
}

async fn ask(address: &str, shared: &Shared) {
    let broken = |why| shared.seen.lock().unwrap().broken.push(why);
    match Client::new(address).get("/who").await {
        Ok((200, who)) if who.split(' ').all(|part| part.trim().parse::<u32>().is_ok()) => {
            shared.answers.fetch_add(1, Ordering::Relaxed);
        }
        Ok((200, who)) => shared.seen.lock().unwrap().wrong.push(format!("not an answer: {who:?}")),
        Ok((status, _)) => broken(format!("status {status}")),
        Err(error) => broken(format!("a request: {error:?}")),
    }
}

async fn stream(address: &str, shared: &Shared) {
    let whole: String = (0..TOKENS).map(|number| format!("token {number}\n")).collect();
    let read = async {
        let mut response =
            Client::new(address).begin(&format!("/stream/{TOKENS}/{TOKEN_MS}")).await?;
        let mut text = String::new();
        while let Some(piece) = chunk(&mut response).await? {
            text.push_str(&piece);
        }
        Ok::<_, io::Error>((response.status(), text))
    };
    let outcome = read.await;
    let mut seen = shared.seen.lock().unwrap();
    match outcome {
        Ok((_, text)) if text == whole => drop(shared.streams.fetch_add(1, Ordering::Relaxed)),
        // It says that it goes on elsewhere.
        Ok((_, text)) if text.ends_with("hand-off\n") => seen.broken.push("handed off".to_owned()),
        Ok((status, _)) if status != 200 => seen.broken.push(format!("status {status}")),
        Ok((_, text)) => seen.wrong.push(format!("a stream that ends after {text:?}")),
        Err(error) => seen.broken.push(format!("a stream: {error:?}")),
    }
}
