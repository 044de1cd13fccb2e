use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use daemon_lifecycle::Outcome;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    http::{Client, chunk, who},
    world::World,
};

const REPLACEMENTS: u64 = 10;
const REQUESTS_PER_S: u64 = 200;
const KEPT_CONNECTIONS: usize = 20;
const STREAMS: u32 = 20;
const TOKENS: u32 = 30;
const TOKEN_MS: u64 = 50;
/// Between two replacements: less than a stream, so that streams span several generations.
const PAUSE: Duration = Duration::from_millis(600);

/// What clients saw.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    streams: AtomicU64,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Seen {
    fn fail(&self, what: impl Into<String>) {
        self.failures.lock().unwrap().push(what.into());
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacements_under_load_lose_no_request_and_cut_no_stream() {
    let world = World::new(json!({ "version": "0" }));
    let manager = world.manager().probation(Duration::from_millis(300));
    let first = manager.spawn().await.unwrap();
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    clients.spawn(requests(first.address().to_owned(), Arc::clone(&seen)));
    for number in 0..STREAMS {
        let begin = Duration::from_millis(u64::from(TOKENS) * TOKEN_MS) * number / STREAMS;
        clients.spawn(streams(first.address().to_owned(), begin, Arc::clone(&seen)));
    }
    for version in 1..=REPLACEMENTS {
        tokio::time::sleep(PAUSE).await;
        world.install(json!({ "version": version.to_string() }));
        let next = manager.spawn().await.unwrap();
        assert!(matches!(next.outcome(), Outcome::Replaced { .. }), "{:?}", next.outcome());
        assert_eq!(next.address(), first.address());
    }
    seen.over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let failures = seen.failures.lock().unwrap().clone();
    assert!(
        failures.is_empty(),
        "{} failures: {:?}",
        failures.len(),
        &failures[..5.min(failures.len())]
    );
    let answers = seen.answers.load(Ordering::Relaxed);
    let streams = seen.streams.load(Ordering::Relaxed);
    println!("{REPLACEMENTS} replacements: {answers} requests and {streams} streams, none lost");
    assert!(answers > 5 * REQUESTS_PER_S, "{answers} requests are no load");
    assert!(streams > 2 * u64::from(STREAMS), "{streams} streams are no load");
    world.finish().await;
}

/// Sends requests at a fixed rate whatever becomes of them, half of them on kept connections.
async fn requests(address: String, seen: Arc<Seen>) {
    let kept: VecDeque<Client> = (0..KEPT_CONNECTIONS).map(|_| Client::new(&address)).collect();
    let kept = Arc::new(Mutex::new(kept));
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / REQUESTS_PER_S));
    let mut under_way = JoinSet::new();
    let mut number = 0;
    while !seen.is_over() {
        tick.tick().await;
        number += 1;
        let waiting = if number % 2 == 0 { kept.lock().unwrap().pop_front() } else { None };
        let is_kept = waiting.is_some();
        let mut client = waiting.unwrap_or_else(|| Client::new(&address));
        let (kept, seen) = (Arc::clone(&kept), Arc::clone(&seen));
        under_way.spawn(async move {
            match client.get("/who").await {
                Ok((200, _)) => drop(seen.answers.fetch_add(1, Ordering::Relaxed)),
                Ok((status, _)) => seen.fail(format!("status {status}")),
                Err(error) => seen.fail(format!("no answer (kept: {is_kept}): {error:?}")),
            }
            if is_kept {
                kept.lock().unwrap().push_back(client);
            }
        });
    }
    under_way.join_all().await;
}

/// Reads one stream after the other, each to its last token.
async fn streams(address: String, begin: Duration, seen: Arc<Seen>) {
    tokio::time::sleep(begin).await;
    while !seen.is_over() {
        let path = format!("/stream/{TOKENS}/{TOKEN_MS}");
        let read = async {
            let mut stream = Client::new(&address).begin(&path).await?;
            let mut text = String::new();
            while let Some(piece) = chunk(&mut stream).await? {
                text.push_str(&piece);
            }
            Ok::<_, std::io::Error>(text)
        };
        let whole: String = (0..TOKENS).map(|number| format!("token {number}\n")).collect();
        match read.await {
            Ok(text) if text == whole => drop(seen.streams.fetch_add(1, Ordering::Relaxed)),
            Ok(text) => seen.fail(format!("a stream ended after {} bytes", text.len())),
            Err(error) => seen.fail(format!("a stream was cut: {error:?}")),
        }
    }
}

/// What the daemon may have.
const DESCRIPTORS: u64 = 1024;

/// More connections than it has room for then.
const SILENT: usize = 450;

#[tokio::test]
async fn connections_that_send_nothing_keep_nobody_out_and_cut_no_stream() {
    let world = World::new(json!({ "version": "0", "descriptors": DESCRIPTORS }));
    let daemon = world.manager().spawn().await.unwrap();
    let address = daemon.address().to_owned();
    let mut stream = Client::new(&address).begin("/stream/20/50").await.unwrap();
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        if number % 2 == 0 {
            // Half a head is as good as none.
            connection.write_all(b"GET /who HTTP/1.1\r\nhost: ").await.unwrap();
        }
        silent.push(connection);
    }
    let mut kept = Client::new(&address);
    for _ in 0..20 {
        assert_eq!(kept.get("/who").await.unwrap().0, 200);
        who(&address).await;
    }
    let mut text = String::new();
    while let Some(piece) = chunk(&mut stream).await.unwrap() {
        text.push_str(&piece);
    }
    assert!(text.ends_with("token 19\n"), "{text}");
    drop(silent);
    world.finish().await;
}
