//! A job that goes on in another server, as it does when its process is replaced.

use std::time::Duration;

use futures::StreamExt as _;
use job_server::{
    Error, Event, JobServer, JobState, Limits, Snapshot, Subscription,
    sse::{SseOptions, sse_response},
};
use rbee_api::event::{NARRATION, PROGRESS};

const GRACE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_reader_goes_on_where_it_was_and_ids_go_on_too() {
    let (here, there) = (server(), server());
    let job = here.create("completion").unwrap();
    let id = job.id();
    job.emit(Some(NARRATION), "told");
    job.emit(None, "one");
    let mut reader = here.subscribe(&id, None).unwrap();
    assert_eq!(next(&mut reader).await.data, "told");

    let snapshot = through_json(&job.depart());
    let adopted = there.adopt(&snapshot, GRACE).unwrap();
    adopted.emit(Some(PROGRESS), "half");
    adopted.emit(None, "two");
    adopted.complete();

    assert_eq!(next(&mut reader).await.data, "one");
    assert!(reader.next().await.is_none());
    assert_eq!(reader.end().unwrap().state, JobState::Moved);
    let rest: Vec<Event> =
        there.subscribe(&id, Some(2)).unwrap().map(|event| event.unwrap()).collect().await;
    let rest: Vec<_> = rest.iter().map(|event| (event.id, event.name, &event.data[..])).collect();
    assert_eq!(rest, [(3, Some(PROGRESS), &b"half"[..]), (4, None, &b"two"[..])]);
    let replayed: Vec<_> = there.subscribe(&id, None).unwrap().collect().await;
    assert_eq!(replayed.len(), 4);
    assert_eq!(there.info(&id).unwrap().operation, "completion");
    assert_eq!(here.running(), 0);
}

#[tokio::test]
async fn a_reader_who_has_seen_what_comes_again_waits_for_what_is_behind_it() {
    let (here, there) = (server(), server());
    let job = here.create("completion").unwrap();
    let id = job.id();
    job.emit(None, "one");
    let adopted = there.adopt(&job.depart().behind_its_readers(), GRACE).unwrap();
    let mut reader = there.subscribe(&id, Some(2)).unwrap();
    adopted.emit(None, "two");
    adopted.emit(None, "three");
    assert_eq!(next(&mut reader).await.data, "three");
    adopted.complete();
    assert!(matches!(there.subscribe(&id, Some(9)), Err(Error::Ahead { .. })));
}

#[tokio::test]
async fn a_log_that_has_dropped_events_keeps_its_numbers() {
    let limits = Limits { event_bytes_per_job: 300, ..Limits::default() };
    let (here, there) = (JobServer::new(limits), server());
    let job = here.create("completion").unwrap();
    for n in 1..=20 {
        job.emit(None, n.to_string());
    }
    let id = job.id();
    let adopted = there.adopt(&through_json(&job.depart()), GRACE).unwrap();
    assert!(matches!(there.subscribe(&id, None), Err(Error::Gone { .. })));
    let mut reader = there.subscribe(&id, Some(19)).unwrap();
    assert_eq!(next(&mut reader).await, Event { id: 20, name: None, data: "20".into() });
    assert_eq!(adopted.emit(None, "21"), 21);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_server_died_goes_on_behind_its_last_reader_who_has_the_grace_to_come() {
    let there = server();
    let id = server().create("completion").unwrap().id();
    let adopted = there.adopt(&through_json(&Snapshot::survived(id, "completion", 7)), GRACE);
    let adopted = adopted.unwrap();
    assert!(matches!(there.subscribe(&id, Some(6)), Err(Error::Gone { oldest: 8, .. })));
    let mut reader = there.subscribe(&id, Some(7)).unwrap();
    assert_eq!(adopted.emit(None, "eight"), 8);
    assert_eq!(next(&mut reader).await.id, 8);
    drop(reader);
    adopted.cancelled().await;
}

#[tokio::test]
async fn a_client_with_ids_is_told_no_end_and_one_without_is_cut_off() {
    let here = server();
    let job = here.create("completion").unwrap();
    job.emit(None, "one");
    let body = |options| {
        let subscription = here.subscribe(&job.id(), None).unwrap();
        axum::body::to_bytes(sse_response(subscription, options).into_body(), usize::MAX)
    };
    let (named, openai) = (body(SseOptions::named()), body(SseOptions::openai()));
    drop(job.depart());
    assert_eq!(named.await.unwrap(), "id: 1\ndata: one\n\n");
    openai.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn whoever_read_a_watched_job_has_the_grace_to_come_after_it() {
    let (here, there) = (server(), server());
    let job = here.create("completion").unwrap();
    let id = job.id();
    let _watching = here.subscribe(&id, None).unwrap().cancel_on_drop(GRACE);
    let adopted = there.adopt(&job.depart(), GRACE).unwrap();

    tokio::time::sleep(GRACE / 2).await;
    let reader = there.subscribe(&id, None).unwrap();
    tokio::time::sleep(GRACE * 2).await;
    assert!(!adopted.is_cancelled());
    drop(reader);
    adopted.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_watched_job_whose_readers_stay_away_is_cancelled() {
    let (here, there) = (server(), server());
    let job = here.create("completion").unwrap();
    let _watching = here.subscribe(&job.id(), None).unwrap().cancel_on_drop(GRACE);
    let adopted = there.adopt(&job.depart(), GRACE).unwrap();
    adopted.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nobody_needs_to_watch_goes_on_unread() {
    let (here, there) = (server(), server());
    let adopted = there.adopt(&here.create("model_pull").unwrap().depart(), GRACE).unwrap();
    tokio::time::sleep(GRACE * 2).await;
    assert!(!adopted.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_comes_back_before_it_was_missed_keeps_the_job_running() {
    let jobs = server();
    let job = jobs.create("completion").unwrap();
    let broken = jobs.subscribe(&job.id(), None).unwrap().cancel_on_drop(GRACE);
    let again = jobs.subscribe(&job.id(), None).unwrap();
    drop(broken);
    tokio::time::sleep(GRACE * 2).await;
    assert!(!job.is_cancelled());
    drop(again);
    job.cancelled().await;
}

#[test]
fn a_job_is_not_adopted_twice() {
    let (here, there) = (server(), server());
    let snapshot = here.create("completion").unwrap().depart();
    let _adopted = there.adopt(&snapshot, GRACE).unwrap();
    assert_eq!(there.adopt(&snapshot, GRACE).unwrap_err(), Error::Present { id: snapshot.id() });
}

fn server() -> JobServer {
    JobServer::new(Limits::default())
}

fn through_json(snapshot: &Snapshot) -> Snapshot {
    serde_json::from_slice(&serde_json::to_vec(snapshot).unwrap()).unwrap()
}

async fn next(reader: &mut Subscription) -> Event {
    reader.next().await.unwrap().unwrap()
}
