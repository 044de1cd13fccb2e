use std::{future::ready, pin::pin, time::Duration};

use futures::{FutureExt as _, StreamExt as _};
use job_server::{Error, JobServer, JobState, JobWriter, Limits, STALL, Subscription};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_reader_gets_what_was_and_what_comes_and_then_the_end() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    writer.emit(Some("narration"), "before");
    let mut reader = server.subscribe(&writer.id(), None).unwrap();
    let event = reader.next().await.unwrap().unwrap();
    assert_eq!((event.id, event.name, &*event.data), (1, Some("narration"), &b"before"[..]));
    assert!(reader.next().now_or_never().is_none());
    writer.emit(None, "after");
    let event = reader.next().await.unwrap().unwrap();
    assert_eq!((event.id, event.name, &*event.data), (2, None, &b"after"[..]));
    assert_eq!(reader.end(), None);
    writer.complete();
    assert!(reader.next().await.is_none());
    assert!(reader.next().await.is_none(), "a stream that is over stays over");
    let end = reader.end().unwrap();
    assert_eq!((end.id, &end.state), (3, &JobState::Completed));
}

#[tokio::test]
async fn replay_begins_behind_the_id_that_was_seen() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let id = writer.id();
    for text in ["a", "b", "c"] {
        writer.emit(None, text);
    }
    assert_eq!(ids(server.subscribe(&id, Some(1)).unwrap().take(2)).await, [2, 3]);
    let ahead = server.subscribe(&id, Some(4)).unwrap_err();
    assert_eq!(ahead, Error::Ahead { id, after: 4, last: 3 });
    writer.complete();
    assert_eq!(ids(server.subscribe(&id, None).unwrap()).await, [1, 2, 3]);
    for after in [3, 4] {
        // 4 is the end itself: who has seen it may ask again.
        let mut reader = server.subscribe(&id, Some(after)).unwrap();
        assert!(reader.next().await.is_none());
        assert_eq!(reader.end().unwrap().id, 4);
    }
    let ahead = server.subscribe(&id, Some(5)).unwrap_err();
    assert_eq!(ahead, Error::Ahead { id, after: 5, last: 4 });
    assert!(server.subscribe(&id, Some(u64::MAX)).is_err());
}

/// For a log that holds some ten of the events that [`press`] adds.
fn pressed() -> Limits {
    Limits { event_bytes_per_job: 1000, ..Limits::default() }
}

/// Adds events as long as there is room for them; says how many.
fn press(writer: &JobWriter) -> u64 {
    let mut added = 0;
    while writer.room().now_or_never().is_some() {
        added = writer.emit(None, "x".repeat(40));
        assert!(added < 1000, "nothing is waited for");
    }
    added
}

#[tokio::test]
async fn a_writer_that_can_wait_overtakes_no_reader() {
    let server = JobServer::new(pressed());
    let writer = server.create("work").unwrap();
    let mut reader = server.subscribe(&writer.id(), None).unwrap();
    let mut read = 0;
    for _ in 0..10 {
        let added = press(&writer);
        let mut room = pin!(writer.room());
        assert!((&mut room).now_or_never().is_none());
        while (&mut room).now_or_never().is_none() {
            read += 1;
            assert_eq!(reader.next().await.unwrap().unwrap().id, read);
        }
        assert!(added - read > 1, "it goes on before the reader has to wait");
    }
    writer.complete();
    assert!(reader.all(|event| ready(event.is_ok())).await);
}

#[tokio::test]
async fn where_all_jobs_hold_too_much_a_writer_waits_earlier() {
    let limits = Limits { event_bytes_of_running_jobs: 100_000, ..Limits::default() };
    let server = JobServer::new(limits);
    let [one, other] = [server.create("work").unwrap(), server.create("work").unwrap()];
    let mut reader = server.subscribe(&one.id(), None).unwrap();
    for _ in 0..40 {
        assert!(one.room().now_or_never().is_some());
        one.emit(None, "x".repeat(1000));
    }
    other.emit(None, "x".repeat(100_000));
    assert!(one.room().now_or_never().is_none());
    assert!(reader.next().await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gets_nowhere_is_waited_for_once() {
    let server = JobServer::new(pressed());
    let writer = server.create("work").unwrap();
    let mut reader = server.subscribe(&writer.id(), None).unwrap();
    let added = press(&writer);
    let before = Instant::now();
    writer.room().await;
    assert_eq!(before.elapsed().as_secs(), STALL.as_secs());
    for _ in 0..added {
        writer.emit(None, "x".repeat(40));
        assert!(writer.room().now_or_never().is_some());
    }
    assert!(matches!(reader.next().await, Some(Err(Error::Gone { .. }))));
}

#[tokio::test]
async fn a_writer_waits_for_nobody_who_is_gone_or_has_it_all() {
    let server = JobServer::new(pressed());
    let writer = server.create("work").unwrap();
    let reader = server.subscribe(&writer.id(), None).unwrap();
    let added = press(&writer);
    let latest = server.subscribe(&writer.id(), Some(added)).unwrap();
    drop(reader);
    assert!(writer.room().now_or_never().is_some(), "the other reader has read all");
    drop(latest);
    for _ in 0..100 {
        assert!(writer.room().now_or_never().is_some());
        writer.emit(None, "x".repeat(40));
    }
}

#[tokio::test]
async fn events_that_fell_out_are_reported_and_not_skipped() {
    let server = JobServer::new(Limits { event_bytes_per_job: 1000, ..Limits::default() });
    let writer = server.create("work").unwrap();
    let id = writer.id();
    let mut slow = server.subscribe(&id, None).unwrap();
    writer.emit(None, "first");
    assert_eq!(slow.next().await.unwrap().unwrap().id, 1);
    for _ in 0..10 {
        writer.emit(None, vec![b'x'; 400]);
    }
    let Err(Error::Gone { oldest, .. }) = server.subscribe(&id, None) else {
        panic!("a replay with a hole")
    };
    assert_eq!(oldest, 10, "two of the large ones fit");
    assert_eq!(slow.next().await.unwrap(), Err(Error::Gone { id, oldest }));
    assert!(slow.next().await.is_none());
    assert_eq!(slow.end(), None);
    writer.complete();
    assert_eq!(ids(server.subscribe(&id, Some(oldest - 1)).unwrap()).await, [10, 11]);
}

#[tokio::test]
async fn a_reader_that_never_reads_does_not_hold_up_the_writer() {
    let limits = Limits { event_bytes_per_job: 10_000, ..Limits::default() };
    let server = JobServer::new(limits);
    let writer = server.create("work").unwrap();
    let idle = server.subscribe(&writer.id(), None).unwrap();
    for _ in 0..100_000 {
        writer.emit(None, "token");
    }
    writer.complete();
    assert_eq!(idle.state(), JobState::Completed);
}

/// Random steps on one thread, against what the log must then hold.
#[tokio::test]
async fn every_reader_sees_gapless_ids_and_one_end_under_any_interleaving() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let server = JobServer::new(Limits::default());
        let mut job = Some(server.create("work").unwrap());
        let id = job.as_ref().map(JobWriter::id).unwrap();
        let mut emitted = 0;
        let mut readers: Vec<Reader> = Vec::new();
        while job.is_some() || readers.iter().any(|reader| !reader.over) {
            match random.u8(0..12) {
                0..=3 => {
                    if let Some(writer) = &job {
                        emitted += 1;
                        assert_eq!(writer.emit(None, emitted.to_string()), emitted, "seed {seed}");
                    }
                }
                4 if readers.len() < 20 => {
                    let after = random.u64(0..=emitted);
                    let stream = server.subscribe(&id, Some(after)).unwrap();
                    readers.push(Reader { stream, seen: after, over: false });
                }
                5 if random.u8(0..8) == 0 => drop(server.cancel(&id, None)),
                6 if !readers.is_empty() => {
                    readers.swap_remove(random.usize(..readers.len()));
                }
                7 if random.u8(0..8) == 0 => match job.take() {
                    Some(writer) if writer.is_cancelled() => writer.cancelled_end(),
                    Some(writer) => writer.complete(),
                    None => {}
                },
                _ => {
                    if let Some(reader) = random.choice(readers.iter_mut()) {
                        reader.step(emitted, job.is_some(), seed);
                    }
                }
            }
        }
        for reader in &readers {
            assert_eq!(reader.seen, emitted, "seed {seed}");
            let end = reader.stream.end().expect("the stream was over");
            assert_eq!(end.id, emitted + 1, "seed {seed}");
            assert_eq!(end.state, server.info(&id).unwrap().state, "seed {seed}");
        }
    }
}

/// The same law with real threads: nobody misses a wake-up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_writers_on_many_threads_agree_on_the_log() {
    const EVENTS: u64 = 2000;
    let server = JobServer::new(Limits { event_bytes_per_job: 64 << 20, ..Limits::default() });
    for _ in 0..10 {
        let writer = server.create("work").unwrap();
        let id = writer.id();
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let server = server.clone();
                tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    let mut reader = server.subscribe(&id, None).unwrap();
                    let mut seen = 0;
                    while let Some(event) = reader.next().await {
                        seen += 1;
                        assert_eq!(event.unwrap().id, seen);
                    }
                    (seen, reader.end().cloned().unwrap())
                })
            })
            .collect();
        let emitter = writer.emitter();
        let other = tokio::spawn(async move {
            for _ in 0..EVENTS {
                emitter.emit(Some("narration"), "n").unwrap();
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..EVENTS {
            writer.emit(None, "token");
            tokio::task::yield_now().await;
        }
        other.await.unwrap();
        writer.complete();
        for reader in readers {
            let (seen, end) = tokio::time::timeout(DEADLINE, reader).await.unwrap().unwrap();
            assert_eq!((seen, end.id), (2 * EVENTS, 2 * EVENTS + 1));
        }
    }
}

struct Reader {
    stream: Subscription,
    seen: u64,
    over: bool,
}

impl Reader {
    /// Polls once and checks the answer against what was emitted so far.
    fn step(&mut self, emitted: u64, running: bool, seed: u64) {
        match self.stream.next().now_or_never() {
            Some(Some(event)) => {
                let event = event.unwrap();
                self.seen += 1;
                assert_eq!(event.id, self.seen, "seed {seed}");
                assert_eq!(event.data, event.id.to_string(), "seed {seed}");
            }
            Some(None) => {
                assert!(!running && self.seen == emitted, "seed {seed}: over too early");
                self.over = true;
            }
            None => assert!(running && self.seen == emitted, "seed {seed}: an event is held back"),
        }
    }
}

async fn ids(events: impl futures::Stream<Item = Result<job_server::Event, Error>>) -> Vec<u64> {
    events.map(|event| event.unwrap().id).collect().await
}
