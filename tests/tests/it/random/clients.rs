use std::{
    io::{BufRead as _, BufReader},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use chain_tests::pause;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A bit more than a second, as the stand-in speaks.
const WORDS: usize = 60;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(100);
/// A request that a hung process had takes as long as it takes to find that out.
const DEADLINE: Duration = Duration::from_secs(120);

/// What became of requests and streams.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Answers that a client takes for whole and good, and that are not.
    pub(super) wrong: Vec<String>,
    /// What a client knows to be broken: no connection, or one that was cut; a refusal.
    pub(super) broken: Vec<String>,
}

/// Clients that ask again and again, and others that read streams.
pub(super) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
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
    pub(super) fn start(queen: &str) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..4).map(|client| {
            let (shared, url) = (Arc::clone(&shared), format!("{queen}/v1/chat/completions"));
            thread::spawn(move || {
                while !shared.over.load(Ordering::Relaxed) {
                    if client % 2 == 0 {
                        shared.note(whole(&url), &shared.answers);
                    } else {
                        shared.note(stream(&url), &shared.streams);
                    }
                    pause(PAUSE);
                    shared.rounds[client].fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// What was seen since the last time, once each client has had an answer that it asked for from
    /// now on.
    pub(super) fn since(&self, limit: Duration) -> Result<Seen, String> {
        let rounds = || self.shared.rounds.each_ref().map(|rounds| rounds.load(Ordering::Relaxed));
        let (before, deadline) = (rounds(), Instant::now() + limit);
        // The one under way was asked for before.
        while !rounds().iter().zip(before).all(|(now, then)| *now >= then + 2) {
            if Instant::now() > deadline {
                return Err(format!("a client waits for an answer: {before:?}, {:?}", rounds()));
            }
            pause(PAUSE);
        }
        Ok(std::mem::take(&mut *self.shared.seen.lock().unwrap()))
    }

    pub(super) fn end(self) -> (u64, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.shared.answers), count(&self.shared.streams))
    }
}

/// An answer that is not as it should be.
enum Fault {
    Wrong(String),
    Broken(String),
}

impl Shared {
    fn note(&self, outcome: Result<(), Fault>, good: &AtomicU64) {
        let mut seen = self.seen.lock().unwrap();
        match outcome {
            Ok(()) => drop(good.fetch_add(1, Ordering::Relaxed)),
            Err(Fault::Wrong(what)) => seen.wrong.push(what),
            Err(Fault::Broken(what)) => seen.broken.push(what),
        }
    }
}

/// JSON from a GET.
pub(super) fn ask<T: DeserializeOwned>(url: &str) -> Result<T, String> {
    let body = agent().get(url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    let body = body.map_err(|error| error.to_string())?;
    serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
}

/// A connection for one request, so that no client keeps a process.
fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(DEADLINE));
    config.http_status_as_error(false).build().into()
}

fn post(url: &str, words: &str, stream: bool) -> Result<ureq::http::Response<ureq::Body>, Fault> {
    let message = json!({"role": "user", "content": words});
    let body = json!({"messages": [message], "stream": stream}).to_string();
    let request = agent().post(url).header("content-type", "application/json");
    let mut response = request.send(body).map_err(|error| Fault::Broken(error.to_string()))?;
    if response.status() != 200 {
        let said = response.body_mut().read_to_string().unwrap_or_default();
        return Err(Fault::Broken(format!("{}: {said}", response.status())));
    }
    Ok(response)
}

fn whole(url: &str) -> Result<(), Fault> {
    let mut response = post(url, "one two", false)?;
    let body = response.body_mut().read_to_string();
    let body = body.map_err(|error| Fault::Broken(format!("half a body: {error}")))?;
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    match &answer["choices"][0]["message"]["content"] {
        content if content == "one two" => Ok(()),
        _ => Err(Fault::Wrong(body)),
    }
}

fn stream(url: &str) -> Result<(), Fault> {
    let words: String = (0..WORDS).map(|number| format!("word{number} ")).collect();
    let response = post(url, &words, true)?;
    let (mut text, mut is_done, mut refused) = (String::new(), false, None);
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let line = match line {
            Ok(line) => line,
            // What is behind the end is nobody's.
            Err(_) if is_done => break,
            Err(error) => return Err(Fault::Broken(format!("cut after {}: {error}", text.len()))),
        };
        match line.strip_prefix("data: ") {
            Some("[DONE]") => is_done = true,
            Some(data) => {
                let chunk: Value = serde_json::from_str(data).unwrap_or_default();
                let word = chunk["choices"][0]["delta"]["content"].as_str();
                text.push_str(word.unwrap_or_default());
                refused = refused.or_else(|| chunk.get("error").map(Value::to_string));
            }
            None => {}
        }
    }
    match refused {
        _ if !words.starts_with(&text) => Err(Fault::Wrong(format!("not what was asked: {text}"))),
        Some(why) if !is_done => Err(Fault::Broken(why)),
        None if is_done && text == words => Ok(()),
        _ => Err(Fault::Wrong(format!("an end in order, done {is_done}, after {text:?}"))),
    }
}
