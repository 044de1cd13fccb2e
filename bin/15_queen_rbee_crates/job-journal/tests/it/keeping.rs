use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use job_journal::{Bounds, Error, Keep};
use job_server::{Found, JobState, Journal as _};

use crate::world::{ANSWER, PROMPT, World};

#[tokio::test]
async fn an_answer_can_be_read_afterwards_and_the_prompt_is_gone() {
    let world = World::new();
    let first = world.process("first");
    let id = first.answer().await;
    first.dies().await;
    assert!(world.has_on_disk(ANSWER));
    let second = world.process("second");
    let Some(Found::Whole { job, .. }) = second.journal.find(id).await else { panic!("no answer") };
    assert_eq!((job.state, job.last_event_id), (JobState::Completed, 1));
    assert_eq!(second.jobs.recall(&id).await.unwrap().operation, "count");
    assert!(second.jobs.subscribe(&id, None).is_ok());
    second.journal.close().await;
    assert!(!world.has_on_disk(PROMPT), "it is not needed any more");
}

#[tokio::test]
async fn of_a_job_that_was_not_accepted_only_its_name_is_kept() {
    let world = World::new();
    let first = world.process("first");
    let job = first.jobs.create("completion").unwrap();
    let id = job.id();
    job.emit(None, ANSWER);
    job.complete();
    first.dies().await;
    assert!(!world.has_on_disk(ANSWER));
    let second = world.process("second");
    assert!(matches!(second.journal.find(id).await, Some(Found::Told(_))));
    let list = second.journal.list().await;
    assert_eq!((list[0].id, &list[0].state), (id, &JobState::Completed));
}

#[tokio::test]
async fn the_files_are_their_owner_s_only() {
    let world = World::new();
    let process = world.process("first");
    process.answer().await;
    process.is_written().await;
    let modes: Vec<_> = fs::read_dir(world.folder())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "the file, its log and that one's index");
}

#[tokio::test]
async fn with_names_alone_nothing_that_was_said_is_on_the_disk() {
    let world = World::new();
    let process = world.bounded("first", Keep::Names, Bounds::default());
    let id = process.answer().await;
    process.is_written().await;
    assert!(matches!(process.journal.find(id).await, Some(Found::Told(_))));
    process.journal.close().await;
    assert!(!world.has_on_disk(PROMPT) && !world.has_on_disk(ANSWER));
}

#[tokio::test]
async fn what_is_no_longer_to_be_kept_goes_at_once() {
    let world = World::new();
    let process = world.process("first");
    let (id, under_way) = (process.answer().await, process.accept().await);
    process.is_written().await;
    assert!(world.has_on_disk(PROMPT) && world.has_on_disk(ANSWER));
    process.journal.follow(Keep::Names, Bounds::default());
    process.is_written().await;
    assert!(!world.has_on_disk(PROMPT) && !world.has_on_disk(ANSWER));
    assert!(matches!(process.journal.find(id).await, Some(Found::Told(_))));
    process.journal.follow(Keep::Nothing, Bounds::default());
    process.is_written().await;
    assert_eq!(fs::read_dir(world.folder()).unwrap().count(), 0);
    under_way.complete();
    assert_eq!(process.journal.list().await, []);
    process.journal.follow(Keep::Answers, Bounds::default());
    let id = process.answer().await;
    assert!(matches!(process.journal.find(id).await, Some(Found::Whole { .. })));
}

#[tokio::test]
async fn what_ended_first_goes_first_where_there_are_too_many() {
    let world = World::new();
    let process = world.process("first");
    let (running, mut ids) = (process.accept().await, Vec::new());
    for _ in 0..5 {
        ids.push(process.answer().await);
    }
    let bounds = Bounds { rows: 3, ..Bounds::default() };
    process.journal.follow(Keep::Answers, bounds);
    process.is_written().await;
    let mut left: Vec<_> = process.journal.list().await.iter().map(|job| job.id).collect();
    left.sort();
    assert_eq!(left, [running.id(), ids[3], ids[4]]);
}

#[tokio::test]
async fn what_ended_first_goes_first_where_it_takes_too_much() {
    let world = World::new();
    let process = world.process("first");
    let mut ids = Vec::new();
    for _ in 0..4 {
        let job = process.accept().await;
        ids.push(job.id());
        job.emit(None, "x".repeat(1000));
        job.complete();
    }
    let bounds = Bounds { bytes: 2500, ..Bounds::default() };
    process.journal.follow(Keep::Answers, bounds);
    process.is_written().await;
    let mut left: Vec<_> = process.journal.list().await.iter().map(|job| job.id).collect();
    left.sort();
    assert_eq!(left, ids[2..]);
}

#[tokio::test]
async fn what_is_old_goes_and_what_runs_stays() {
    let world = World::new();
    let process = world.process("first");
    process.answer().await;
    let running = process.accept().await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let bounds = Bounds { age: Duration::from_millis(1), ..Bounds::default() };
    process.journal.follow(Keep::Answers, bounds);
    process.is_written().await;
    let left: Vec<_> = process.journal.list().await.iter().map(|job| job.id).collect();
    assert_eq!(left, [running.id()]);
}

#[tokio::test]
async fn more_than_there_is_room_for_is_not_accepted() {
    let world = World::new();
    let bounds = Bounds { bytes: 100, ..Bounds::default() };
    let process = world.bounded("first", Keep::Answers, bounds);
    let under_way = process.accept().await;
    let accepted = job_journal::Accepted {
        id: job_server::JobId::generate(),
        operation: "count".into(),
        subject: None,
        request: "x".repeat(60),
    };
    let refused = process.journal.accept(accepted.clone()).await;
    assert_eq!(refused, Err(Error::Full { max_bytes: 100 }));
    under_way.complete();
    assert_eq!(process.journal.accept(accepted).await, Ok(true));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_put_aside_and_costs_nothing_else() {
    let world = World::new();
    fs::write(world.path(), "no database, however long it is read").unwrap();
    let process = world.process("first");
    let id = process.answer().await;
    assert!(matches!(process.journal.find(id).await, Some(Found::Whole { .. })));
    assert!(world.folder().join("jobs.unreadable").is_file());
}

#[tokio::test]
async fn a_file_that_cannot_be_written_costs_the_promise_and_no_job() {
    let world = World::new();
    fs::create_dir(world.path()).unwrap();
    let process = world.process("first");
    let id = process.answer().await;
    assert_eq!(process.journal.find(id).await, None);
    assert_eq!(process.jobs.info(&id).unwrap().state, JobState::Completed);
}
