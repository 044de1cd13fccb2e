use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Between two requests, whatever has become of those before.
const INTERVAL: Duration = Duration::from_millis(10);
const LIMIT: Duration = Duration::from_secs(30);

type Answers = Arc<Mutex<Vec<(Instant, Result<String, String>)>>>;

/// Requests at a steady rate, each on a connection of its own.
#[derive(Debug)]
pub(super) struct Clients {
    answers: Answers,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Clients {
    pub(super) fn start(port: u16) -> Self {
        let (answers, is_over) = (Answers::default(), Arc::new(AtomicBool::new(false)));
        let (kept, over) = (answers.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            let mut next = Instant::now();
            let mut under_way = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let kept = kept.clone();
                under_way.push(thread::spawn(move || {
                    let answer = ask(port);
                    let mut answers = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    answers.push((Instant::now(), answer));
                }));
                under_way.retain(|client| !client.is_finished());
                next += INTERVAL;
                super::pause(next.saturating_duration_since(Instant::now()));
            }
            under_way.into_iter().for_each(|client| drop(client.join()));
        });
        Self { answers, is_over, thread }
    }

    /// When the first answer came that begins with `word`.
    pub(super) fn first(&self, word: &str) -> Option<Instant> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = answers.iter().filter(|(_, answer)| begins(answer, word));
        found.map(|(at, _)| *at).min()
    }

    /// When the last answer came that does not begin with `word`.
    pub(super) fn last_without(&self, word: &str) -> Option<Instant> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = answers.iter().filter(|(_, answer)| answer.is_ok() && !begins(answer, word));
        found.map(|(at, _)| *at).max()
    }

    /// How many requests were made, and why which were lost.
    pub(super) fn stop(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.thread.join());
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = answers.iter().filter_map(|(_, answer)| answer.as_ref().err().cloned());
        (answers.len(), lost.collect())
    }
}

fn begins(answer: &Result<String, String>, word: &str) -> bool {
    answer.as_ref().is_ok_and(|answer| answer.starts_with(word))
}

/// One request: what was answered, or why it was lost.
pub(super) fn ask(port: u16) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).map_err(words)?;
    connection.set_read_timeout(Some(LIMIT)).map_err(words)?;
    let request = b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    connection.write_all(request).map_err(words)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).map_err(words)?;
    let body = answer.split_once("\r\n\r\n").filter(|_| answer.starts_with("HTTP/1.1 200"));
    let body = body.map(|(_, body)| body.to_owned()).filter(|body| !body.is_empty());
    body.ok_or_else(|| format!("not an answer: {answer:?}"))
}
