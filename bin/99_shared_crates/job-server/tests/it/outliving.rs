//! What outlives a server: what its journal is told, and what comes back from there.

use std::sync::{Arc, Mutex};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use job_server::{
    Error, Found, JobId, JobInfo, JobServer, JobState, Journal, Limits, NewJob, Snapshot,
};

#[test]
fn a_journal_is_told_when_a_job_begins_and_how_it_ends() {
    let (jobs, journal) = server();
    let (done, lost) = (jobs.create("count").unwrap(), jobs.create("count").unwrap());
    let ids = [done.id(), lost.id()];
    done.emit(None, "one");
    done.complete();
    drop(lost);
    let told = journal.told();
    assert_eq!(told[..2], [format!("{} runs", ids[0]), format!("{} runs", ids[1])]);
    assert_eq!(told[2], format!("{} completed behind 1, no events", ids[0]));
    assert!(told[3].starts_with(&format!("{} failed behind 0", ids[1])), "{told:?}");
}

#[test]
fn of_a_job_that_is_kept_the_journal_gets_notes_and_all_events() {
    let (jobs, journal) = server();
    let job = jobs.begin(kept("count")).unwrap();
    let id = job.id();
    job.emit(None, "one");
    job.note(|so_far| Some(format!("{} events", serde_json::to_value(so_far).unwrap()["events"])));
    job.emit(None, "two");
    job.complete();
    let told = journal.told();
    assert_eq!(told[1], format!(r#"{id} notes [{{"data":"one"}}] events"#));
    assert_eq!(told[2], format!("{id} completed behind 2, with events"));
}

#[test]
fn nothing_is_noted_of_a_job_that_is_not_kept() {
    let (jobs, journal) = server();
    let job = jobs.create("count").unwrap();
    job.note(|_| panic!("it is asked for a note"));
    job.complete();
    assert_eq!(journal.told().len(), 2);
}

#[test]
fn the_end_here_of_a_job_that_goes_on_elsewhere_is_not_told() {
    let ((here, of_here), (there, of_there)) = (server(), server());
    let job = here.begin(kept("count")).unwrap();
    let id = job.id();
    let adopted = there.adopt(&job.depart(), std::time::Duration::ZERO).unwrap();
    adopted.emit(None, "one");
    adopted.complete();
    assert_eq!(of_here.told(), [format!("{id} runs")]);
    let there = [format!("{id} runs"), format!("{id} completed behind 1, with events")];
    assert_eq!(of_there.told(), there);
}

#[tokio::test]
async fn a_job_that_ended_in_another_process_is_read_as_any_other() {
    let ((first, journal), second) = (server(), JobServer::new(Limits::default()));
    let job = first.begin(kept("count")).unwrap();
    let id = job.id();
    job.emit(None, "one");
    job.emit(None, "two");
    job.fail("no more");
    second.keep_in(journal);

    assert!(matches!(second.subscribe(&id, None), Err(Error::Unknown { .. })));
    let failed = JobState::Failed { why: "no more".into() };
    assert_eq!(second.recall(&id).await.unwrap().state, failed);
    let mut rest = second.subscribe(&id, Some(1)).unwrap();
    assert_eq!(rest.next().await.unwrap().unwrap().data, "two");
    assert!(rest.next().await.is_none());
    assert_eq!(rest.end().unwrap().state, failed);
    assert_eq!(second.cancel(&id, None), Err(Error::AlreadyEnded { id }));
    assert_eq!(second.running(), 0);
}

#[tokio::test]
async fn a_job_that_nobody_knows_is_not_waited_for() {
    let (jobs, _journal) = server();
    assert_eq!(jobs.recall(&JobId::generate()).now_or_never(), Some(None));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_job_that_was_left_waits_until_somebody_goes_on_with_it() {
    let (jobs, journal) = server();
    let id = JobId::generate();
    journal.0.lock().unwrap().left = Some(id);
    let asked = tokio::spawn({
        let jobs = jobs.clone();
        async move { jobs.recall(&id).await }
    });
    tokio::task::yield_now().await;
    let job = jobs.begin(NewJob { id, ..kept("count") }).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().state, JobState::Running);
    drop(job);
    let nobody = JobId::generate();
    journal.0.lock().unwrap().left = Some(nobody);
    assert_eq!(jobs.recall(&nobody).await, None);
}

#[tokio::test]
async fn the_history_has_each_job_once_the_oldest_first() {
    let ((first, journal), second) = (server(), JobServer::new(Limits::default()));
    let ended = first.create("count").unwrap();
    let ended_id = ended.id();
    ended.complete();
    second.keep_in(journal);
    let running = second.create("count").unwrap();
    let history: Vec<_> = second.history().await.into_iter().map(|job| job.id).collect();
    assert_eq!(history, [ended_id, running.id()]);
    assert_eq!(second.list().len(), 1);
}

fn server() -> (JobServer, Arc<Remembered>) {
    let (jobs, journal) = (JobServer::new(Limits::default()), Arc::new(Remembered::default()));
    jobs.keep_in(Arc::clone(&journal) as Arc<dyn Journal>);
    (jobs, journal)
}

fn kept(operation: &str) -> NewJob<'_> {
    NewJob { kept: true, ..NewJob::of(operation) }
}

/// A journal in memory.
#[derive(Debug, Default)]
struct Remembered(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    told: Vec<String>,
    jobs: Vec<(JobInfo, Option<Snapshot>)>,
    left: Option<JobId>,
}

impl Remembered {
    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().told.clone()
    }

    fn tells(&self, what: String) {
        self.0.lock().unwrap().told.push(what);
    }
}

impl Journal for Remembered {
    fn runs(&self, job: JobInfo) {
        self.tells(format!("{} runs", job.id));
    }

    fn notes(&self, id: JobId, note: String) {
        self.tells(format!("{id} notes {note}"));
    }

    fn ended(&self, job: JobInfo, events: Option<Snapshot>) {
        let state = rbee_api::JobState::from(&job.state);
        let state = serde_json::to_value(state).unwrap();
        let with = if events.is_some() { "with" } else { "no" };
        let (state, last) = (state.as_str().unwrap(), job.last_event_id);
        self.tells(format!("{} {state} behind {last}, {with} events", job.id));
        self.0.lock().unwrap().jobs.push((job, events));
    }

    fn find(&self, id: JobId) -> BoxFuture<'_, Option<Found>> {
        let memory = self.0.lock().unwrap();
        let found = memory.jobs.iter().find(|(job, _)| job.id == id).cloned();
        let found = found.map(|(job, events)| match events {
            Some(events) => Found::Whole { job, events },
            None => Found::Told(job),
        });
        let found = found.or((memory.left == Some(id)).then_some(Found::Left));
        Box::pin(async move { found })
    }

    fn list(&self) -> BoxFuture<'_, Vec<JobInfo>> {
        let jobs = &self.0.lock().unwrap().jobs;
        let jobs = jobs.iter().map(|(job, _)| job.clone()).collect();
        Box::pin(async move { jobs })
    }
}
