use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures::FutureExt as _;
use job_journal::{Accepted, Bounds, JobJournal, Keep};
use job_server::{JobId, JobServer, JobWriter, Journal as _, Limits, NewJob};

pub(crate) const PROMPT: &str = "what only the one who asks may know";
pub(crate) const ANSWER: &str = "what only the one who asked is told";

/// A folder with a journal, and processes that come and go.
pub(crate) struct World {
    folder: tempfile::TempDir,
    dead: Arc<Mutex<Vec<String>>>,
}

/// A process: its jobs, and its hold on the journal.
pub(crate) struct Process {
    pub(crate) journal: JobJournal,
    pub(crate) jobs: JobServer,
    name: String,
    dead: Arc<Mutex<Vec<String>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), dead: Arc::default() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("jobs.sqlite")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn process(&self, name: &str) -> Process {
        self.bounded(name, Keep::Answers, Bounds::default())
    }

    pub(crate) fn bounded(&self, name: &str, keep: Keep, bounds: Bounds) -> Process {
        let dead = Arc::clone(&self.dead);
        let is_alive = move |name: &str| !dead.lock().unwrap().iter().any(|dead| dead == name);
        let journal =
            JobJournal::open(self.path(), name.to_owned(), is_alive, (keep, bounds)).unwrap();
        let jobs = JobServer::new(Limits::default());
        jobs.keep_in(Arc::new(journal.clone()));
        Process { journal, jobs, name: name.to_owned(), dead: Arc::clone(&self.dead) }
    }

    /// Does something while the thread that writes cannot go on: it asks who is alive, and gets no answer.
    pub(crate) async fn while_the_thread_is_busy(
        &self,
        process: &Process,
        running: JobId,
        action: impl FnOnce(),
    ) {
        let asked = {
            let _unanswered = self.dead.lock().unwrap();
            let asked = process.journal.find(running).now_or_never();
            action();
            asked
        };
        assert_eq!(asked, None);
        process.is_written().await;
    }

    /// Whether the text is anywhere in the folder's files.
    pub(crate) fn has_on_disk(&self, text: &str) -> bool {
        fs::read_dir(self.folder.path()).unwrap().any(|entry| {
            let content = fs::read(entry.unwrap().path()).unwrap();
            content.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }
}

impl Process {
    /// Accepts a job and begins it.
    pub(crate) async fn accept(&self) -> JobWriter {
        let id = JobId::generate();
        let request = format!(r#"{{"prompt":"{PROMPT}"}}"#);
        let accepted = Accepted { id, operation: "count".into(), subject: None, request };
        let kept = self.journal.accept(accepted).await.unwrap();
        self.jobs.begin(NewJob { id, operation: "count", kept }).unwrap()
    }

    /// The same of one that answers at once.
    pub(crate) async fn answer(&self) -> JobId {
        let job = self.accept().await;
        let id = job.id();
        job.emit(None, ANSWER);
        job.complete();
        id
    }

    /// What it has told is written.
    pub(crate) async fn is_written(&self) {
        self.journal.list().await;
    }

    /// Writes nothing more, and is dead.
    pub(crate) async fn dies(&self) {
        self.journal.close().await;
        self.dead.lock().unwrap().push(self.name.clone());
    }
}
