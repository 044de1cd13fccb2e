use std::time::Duration;

use job_server::{Found, JobState, Journal as _};

use crate::world::{PROMPT, World};

#[tokio::test]
async fn what_a_dead_process_was_doing_is_taken_over_once() {
    let world = World::new();
    let first = world.process("first");
    let (accepted, noted) = (first.accept().await, first.accept().await);
    let (other, ended) = (first.jobs.create("completion").unwrap(), first.answer().await);
    noted.note(|_| Some("half".to_owned()));
    let others = world.process("second");
    assert_eq!(others.journal.claim().await, [], "it lives");
    first.dies().await;
    assert_eq!(others.journal.find(accepted.id()).await, Some(Found::Left));
    assert!(matches!(others.journal.find(other.id()).await, Some(Found::Told(_))));

    let left = others.journal.claim().await;
    let of: Vec<_> = left.iter().map(|left| (left.id, left.note.as_deref())).collect();
    let expected = [(accepted.id(), None), (noted.id(), Some("half")), (other.id(), None)];
    assert_eq!(of, expected);
    assert!(left[0].request.as_ref().unwrap().contains(PROMPT));
    assert_eq!(left[2].request, None);
    assert_eq!(world.process("third").journal.claim().await, []);
    assert!(matches!(others.journal.find(ended).await, Some(Found::Whole { .. })));
}

#[tokio::test]
async fn two_processes_write_at_the_same_time_each_its_own() {
    let world = World::new();
    let processes = [world.process("first"), world.process("second")];
    let rounds = processes.iter().map(|process| async {
        for _ in 0..50 {
            process.answer().await;
        }
        process.is_written().await;
    });
    futures::future::join_all(rounds).await;
    let list = processes[0].journal.list().await;
    assert_eq!(list.len(), 100);
    assert!(list.iter().all(|job| job.state == JobState::Completed), "{list:?}");
}

#[tokio::test]
async fn who_had_a_job_before_writes_nothing_more_of_it() {
    let world = World::new();
    let (first, second) = (world.process("first"), world.process("second"));
    let job = first.accept().await;
    let id = job.id();
    first.is_written().await;
    // It moves, as in a hand-over, and the one before says something late.
    let moved = second.jobs.adopt(&{ job }.depart(), Duration::ZERO).unwrap();
    second.is_written().await;
    first.journal.notes(id, "late".to_owned());
    first.journal.fail(id, "late");
    first.journal.discard(id);
    first.is_written().await;
    moved.complete();
    second.is_written().await;
    let Some(Found::Whole { job, .. }) = second.journal.find(id).await else { panic!("lost") };
    assert_eq!(job.state, JobState::Completed);
}

#[tokio::test]
async fn what_ends_because_its_process_does_is_left_to_the_next() {
    let world = World::new();
    let first = world.process("first");
    let job = first.accept().await;
    let id = job.id();
    first.dies().await;
    drop(job);
    assert_eq!(first.jobs.running(), 0);
    let left = world.process("second").journal.claim().await;
    assert_eq!(left.iter().map(|left| left.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test]
async fn a_job_that_is_not_gone_on_with_says_why() {
    let world = World::new();
    let first = world.process("first");
    let job = first.jobs.create("completion").unwrap();
    first.dies().await;
    let second = world.process("second");
    assert_eq!(second.journal.claim().await.len(), 1);
    second.journal.fail(job.id(), "its queen is gone");
    let told = second.journal.find(job.id()).await;
    let Some(Found::Told(job)) = told else { panic!("{told:?}") };
    assert_eq!(job.state, JobState::Failed { why: "its queen is gone".into() });
}

#[tokio::test]
async fn who_tells_of_jobs_does_not_wait_for_the_disk() {
    let world = World::new();
    let process = world.process("first");
    let running = process.accept().await;
    let written = world.while_the_thread_is_busy(&process, running.id(), || {
        for _ in 0..1000 {
            process.jobs.create("completion").unwrap().complete();
        }
    });
    written.await;
    assert_eq!(process.journal.list().await.len(), 1000);
}
