use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use job_server::{Error, JobId, JobServer, JobState, Limits};

const GRACE: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_job_is_running_until_its_writer_ends_it() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("chat_completion").unwrap();
    let id = writer.id();
    writer.emit(None, "a");
    let info = server.info(&id).unwrap();
    assert_eq!(info.operation, "chat_completion");
    assert_eq!((info.state, info.last_event_id), (JobState::Running, 1));
    writer.complete();
    assert_eq!(server.info(&id).unwrap().state, JobState::Completed);
}

#[tokio::test]
async fn each_way_to_end_a_job_is_told_apart() {
    let server = JobServer::new(Limits::default());
    let ended = |end: fn(job_server::JobWriter)| {
        let writer = server.create("work").unwrap();
        let id = writer.id();
        end(writer);
        server.info(&id).unwrap().state
    };
    assert_eq!(ended(|writer| writer.complete()), JobState::Completed);
    assert_eq!(ended(|writer| writer.fail("no hive")), JobState::Failed { why: "no hive".into() });
    assert_eq!(ended(|writer| writer.cancelled_end()), JobState::Cancelled);
    let JobState::Failed { why } = ended(drop) else { panic!("a dropped writer has not failed") };
    assert!(why.starts_with("abandoned"), "{why}");
}

#[tokio::test]
async fn a_writer_that_panics_leaves_a_failed_job() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let id = writer.id();
    let work = tokio::spawn(async move {
        writer.emit(None, "a");
        panic!("expected by the test");
    });
    assert!(work.await.unwrap_err().is_panic());
    assert!(matches!(server.info(&id).unwrap().state, JobState::Failed { .. }));
    assert_eq!(server.running(), 0);
}

#[tokio::test]
async fn cancelling_wakes_the_writer_and_is_idempotent_until_the_end() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let id = writer.id();
    let cancelled = writer.cancelled();
    assert!(!writer.is_cancelled());
    assert_eq!(server.cancel(&id, None), Ok(()));
    assert_eq!(server.cancel(&id, None), Ok(()));
    tokio::time::timeout(DEADLINE, cancelled).await.unwrap();
    let info = server.info(&id).unwrap();
    assert_eq!((info.state, info.cancel_requested), (JobState::Running, true));
    drop(writer);
    assert_eq!(server.info(&id).unwrap().state, JobState::Cancelled);
    assert_eq!(server.cancel(&id, None), Err(Error::AlreadyEnded { id }));
}

#[tokio::test]
async fn who_had_a_job_before_cannot_cancel_it() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let id = writer.id();
    server.own(&id, 2).unwrap();
    // What comes late takes nothing back.
    server.own(&id, 1).unwrap();
    for earlier in [0, 1] {
        assert_eq!(server.cancel(&id, Some(earlier)), Err(Error::TakenOver { id }));
    }
    assert!(!writer.is_cancelled());
    assert_eq!(server.cancel(&id, Some(2)), Ok(()));
    assert!(writer.is_cancelled());
}

#[tokio::test]
async fn who_is_none_of_its_owners_may_cancel_a_job() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    server.own(&writer.id(), 5).unwrap();
    assert_eq!(server.cancel(&writer.id(), None), Ok(()));
    assert!(writer.is_cancelled());
}

#[tokio::test]
async fn work_that_is_done_in_spite_of_a_cancel_is_completed() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let id = writer.id();
    server.cancel(&id, None).unwrap();
    writer.complete();
    assert_eq!(server.info(&id).unwrap().state, JobState::Completed);
}

#[tokio::test]
async fn unknown_jobs_are_named() {
    let server = JobServer::new(Limits::default());
    let id: JobId = JobServer::new(Limits::default()).create("elsewhere").unwrap().id();
    assert_eq!(server.info(&id), None);
    assert_eq!(server.cancel(&id, None), Err(Error::Unknown { id }));
    assert!(server.emitter(&id).is_none());
    assert_eq!(server.subscribe(&id, None).unwrap_err(), Error::Unknown { id });
    assert!("job-1".parse::<JobId>().is_err());
    assert_eq!(id.to_string().parse(), Ok(id));
}

#[tokio::test]
async fn running_jobs_are_never_forgotten_and_ended_ones_make_room_oldest_first() {
    let server = JobServer::new(Limits { max_jobs: 3, ..Limits::default() });
    let [first, second, third] = [(); 3].map(|()| server.create("work").unwrap());
    assert_eq!(server.create("work").unwrap_err(), Error::Full { max_jobs: 3 });
    let ids = [first.id(), second.id(), third.id()];
    second.complete();
    first.complete();
    let fourth = server.create("work").unwrap();
    let known: Vec<JobId> = server.list().iter().map(|info| info.id).collect();
    assert_eq!(known, [ids[0], ids[2], fourth.id()], "the second had ended first");
    assert_eq!(server.running(), 2);
}

#[tokio::test(start_paused = true)]
async fn ended_jobs_are_forgotten_after_their_time() {
    let retain = Duration::from_secs(60);
    let server = JobServer::new(Limits { retain, ..Limits::default() });
    let (ended, running) = (server.create("work").unwrap(), server.create("work").unwrap());
    let id = ended.id();
    ended.complete();
    let reader = server.subscribe(&id, None).unwrap();
    tokio::time::advance(retain - Duration::from_millis(1)).await;
    assert!(server.info(&id).is_some());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(server.info(&id).is_none());
    assert!(server.info(&running.id()).is_some());
    assert_eq!(reader.count().await, 0, "a reader keeps what it reads");
}

#[tokio::test]
async fn ended_jobs_are_forgotten_when_they_hold_too_much() {
    let limits = Limits { event_bytes_of_ended_jobs: 2500, ..Limits::default() };
    let server = JobServer::new(limits);
    let ids: Vec<JobId> = (0..4)
        .map(|_| {
            let writer = server.create("work").unwrap();
            writer.emit(None, vec![b'x'; 1000]);
            let id = writer.id();
            writer.complete();
            id
        })
        .collect();
    let known: Vec<JobId> = server.list().iter().map(|info| info.id).collect();
    assert_eq!(known, ids[2..]);
}

/// Of a server whose readers say when they have all.
const UNREAD: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn nothing_is_owed_once_each_reader_has_said_that_it_has_all_or_is_away_for_too_long() {
    let server = JobServer::new(Limits::default());
    server.read_out(UNREAD).await;
    let read = |grace| {
        let writer = server.create("work").unwrap();
        writer.emit(None, "a");
        (server.subscribe(&writer.id(), None).unwrap().cancel_on_drop(grace), writer)
    };
    let (reader, writer) = read(GRACE);
    let id = writer.id();
    let mut out = Box::pin(server.read_out(UNREAD));
    assert!((&mut out).now_or_never().is_none(), "it runs");
    writer.complete();
    assert!((&mut out).now_or_never().is_none(), "it is being read");
    assert_eq!(reader.count().await, 1);
    assert!((&mut out).now_or_never().is_none(), "what was sent may be lost on its way");
    // A reader that comes back is waited for as the first one was.
    drop(server.subscribe(&id, Some(1)).unwrap());
    assert!((&mut out).now_or_never().is_none());
    assert_eq!(server.cancel(&id, None), Err(Error::AlreadyEnded { id }));
    assert!((&mut out).now_or_never().is_some(), "it has said that it has all");

    let (reader, writer) = read(GRACE);
    writer.complete();
    drop(reader);
    let began = tokio::time::Instant::now();
    server.read_out(UNREAD).await;
    assert_eq!(began.elapsed(), UNREAD);

    // Who cannot come back is not waited for.
    let (reader, writer) = read(Duration::ZERO);
    writer.complete();
    assert!(server.read_out(UNREAD).now_or_never().is_some());
    drop(reader);
}

#[tokio::test(start_paused = true)]
async fn what_a_reader_has_not_got_is_kept_when_others_are_forgotten() {
    let limits = Limits {
        retain: Duration::from_secs(1),
        event_bytes_of_ended_jobs: 2500,
        unread: UNREAD,
        event_bytes_of_unread_jobs: 2500,
        ..Limits::default()
    };
    let server = JobServer::new(limits);
    let ended = || {
        let writer = server.create("work").unwrap();
        writer.emit(None, vec![b'x'; 1000]);
        let id = writer.id();
        let reader = server.subscribe(&id, None).unwrap().cancel_on_drop(GRACE);
        writer.complete();
        drop(reader);
        id
    };
    let (unread, read) = (ended(), ended());
    assert_eq!(server.cancel(&read, None), Err(Error::AlreadyEnded { id: read }));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(server.info(&read).is_none());
    assert!(server.info(&unread).is_some());
    tokio::time::advance(UNREAD).await;
    assert!(server.info(&unread).is_none());
    // As much as there is room for, the latest of them.
    let ids: Vec<JobId> = (0..5).map(|_| ended()).collect();
    tokio::time::advance(Duration::from_secs(2)).await;
    let known: Vec<JobId> = server.list().iter().map(|info| info.id).collect();
    assert_eq!(known, ids[3..]);
}

#[tokio::test]
async fn idle_waits_for_the_last_running_job() {
    let server = JobServer::new(Limits::default());
    server.idle().await;
    let (first, second) = (server.create("work").unwrap(), server.create("work").unwrap());
    let mut idle = Box::pin(server.idle());
    assert!((&mut idle).now_or_never().is_none());
    first.complete();
    assert!((&mut idle).now_or_never().is_none());
    second.complete();
    tokio::time::timeout(DEADLINE, idle).await.unwrap();
}

#[tokio::test]
async fn an_emitter_adds_to_a_running_job_and_never_to_an_ended_one() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let emitter = server.emitter(&writer.id()).unwrap();
    assert_eq!(writer.emit(None, "a"), 1);
    assert_eq!(emitter.emit(Some("narration"), "b"), Some(2));
    assert_eq!(writer.emit(None, "c"), 3);
    let id = writer.id();
    writer.complete();
    assert_eq!(emitter.clone().emit(None, "d"), None);
    assert_eq!(server.info(&id).unwrap().last_event_id, 3);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_cancelled_a_grace_after_its_last_reader_left() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let subscribe = || server.subscribe(&writer.id(), None).unwrap().cancel_on_drop(GRACE);
    let (one, other) = (subscribe(), subscribe());
    drop(one);
    tokio::time::sleep(GRACE * 2).await;
    assert!(!writer.is_cancelled(), "one reader is left");
    drop(other);
    tokio::time::sleep(GRACE - Duration::from_millis(1)).await;
    assert!(!writer.is_cancelled(), "the grace is not over");
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(writer.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn who_subscribes_within_the_grace_takes_the_place_of_who_left() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let first = server.subscribe(&writer.id(), None).unwrap().cancel_on_drop(GRACE);
    drop(first);
    tokio::time::sleep(GRACE / 2).await;
    let second = server.subscribe(&writer.id(), None).unwrap();
    tokio::time::sleep(GRACE * 2).await;
    assert!(!writer.is_cancelled());
    drop(second);
    tokio::time::sleep(GRACE + Duration::from_millis(1)).await;
    assert!(writer.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_grace_that_was_interrupted_begins_anew() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let subscribe = || server.subscribe(&writer.id(), None).unwrap().cancel_on_drop(GRACE);
    drop(subscribe());
    tokio::time::sleep(GRACE / 2).await;
    drop(subscribe());
    tokio::time::sleep(GRACE / 2 + Duration::from_millis(1)).await;
    assert!(!writer.is_cancelled(), "the first grace no longer counts");
    tokio::time::sleep(GRACE / 2).await;
    assert!(writer.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn readers_that_only_watch_cancel_nothing() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    drop(server.subscribe(&writer.id(), None).unwrap());
    tokio::time::sleep(GRACE * 2).await;
    assert!(!writer.is_cancelled());
}

#[tokio::test]
async fn without_a_grace_the_last_reader_cancels_as_it_leaves() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let reader = server.subscribe(&writer.id(), None).unwrap().cancel_on_drop(Duration::ZERO);
    drop(reader);
    assert!(writer.is_cancelled());
}

#[tokio::test]
async fn a_reader_that_leaves_after_the_end_cancels_nothing() {
    let server = JobServer::new(Limits::default());
    let writer = server.create("work").unwrap();
    let id = writer.id();
    let reader = server.subscribe(&id, None).unwrap().cancel_on_drop(Duration::ZERO);
    writer.complete();
    drop(reader);
    assert!(!server.info(&id).unwrap().cancel_requested);
}

#[tokio::test]
async fn running_jobs_that_hold_too_much_together_keep_their_newest_events() {
    const MOST: usize = 4 << 20;
    let limits = Limits { event_bytes_of_running_jobs: MOST, ..Limits::default() };
    let server = JobServer::new(limits);
    let writers: Vec<_> = (0..16).map(|_| server.create("work").unwrap()).collect();
    for _ in 0..400 {
        for writer in &writers {
            writer.emit(None, vec![b'x'; 10_000]);
        }
    }
    let held: usize = writers.iter().map(|writer| held(&server, writer.id())).sum();
    assert!(held < MOST + 16 * 80_000, "{held} bytes");
    for writer in &writers {
        assert!(held_events(&server, writer.id()) >= 3, "the newest are there to be read");
    }
    // What the others held is free again.
    let ids: Vec<JobId> = writers.iter().map(|writer| writer.id()).collect();
    drop(writers);
    let alone = server.create("work").unwrap();
    for _ in 0..100 {
        alone.emit(None, vec![b'x'; 10_000]);
    }
    assert_eq!(held_events(&server, alone.id()), 100);
    assert!(ids.iter().all(|id| server.info(id).is_none_or(|info| info.state.is_ended())));
}

/// How many events of 10,000 bytes the job has kept.
fn held_events(server: &JobServer, id: JobId) -> usize {
    let last = server.info(&id).unwrap().last_event_id;
    let oldest = match server.subscribe(&id, None) {
        Ok(_) => 1,
        Err(Error::Gone { oldest, .. }) => oldest,
        Err(error) => panic!("{error}"),
    };
    usize::try_from(last + 1 - oldest).unwrap()
}

fn held(server: &JobServer, id: JobId) -> usize {
    held_events(server, id) * 10_000
}

#[tokio::test]
async fn a_writer_knows_its_events_as_long_as_the_log_holds_them_all() {
    let limits = Limits { event_bytes_per_job: 1000, ..Limits::default() };
    let server = JobServer::new(limits);
    let writer = server.create("work").unwrap();
    assert_eq!(writer.events().unwrap(), []);
    writer.emit(Some("progress"), "a");
    writer.emit(None, "b");
    let events = writer.events().unwrap();
    assert_eq!((events[0].name, events[1].id, &*events[1].data), (Some("progress"), 2, &b"b"[..]));
    writer.emit(None, "c".repeat(1000));
    assert_eq!(writer.events(), None);
}
