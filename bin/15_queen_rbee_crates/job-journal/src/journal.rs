use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use job_server::{Found, JobId, JobInfo, JobState, Journal, Snapshot};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    Bounds, Error, Keep, Left,
    thread::{Command, Writer},
};

/// How long a word of the file is waited for; then things go on without it.
const ANSWERS: Duration = Duration::from_secs(5);

/// What may wait to be written, in bytes; what comes beyond that is not written.
const WAITING: usize = 64 << 20;

/// The journal. Clones are the same.
#[derive(Debug, Clone)]
pub struct JobJournal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    /// Bytes of the commands that are not done.
    waiting: Arc<AtomicUsize>,
    closed: AtomicBool,
}

/// A job that is to be done in any case.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub id: JobId,
    pub operation: String,
    pub subject: Option<String>,
    /// What was asked for, in the words of whoever will do it.
    pub request: String,
}

impl JobJournal {
    /// The journal at `path`, written by `holder`, which is this process; `is_alive` says of any such
    /// whether it is. The file is opened by the thread that writes it.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub fn open(
        path: PathBuf,
        holder: String,
        is_alive: impl Fn(&str) -> bool + Send + 'static,
        (keep, bounds): (Keep, Bounds),
    ) -> io::Result<Self> {
        let (commands, told) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer::new(path, holder, Box::new(is_alive), (keep, bounds), &waiting);
        let thread = std::thread::Builder::new().name("job-journal".to_owned());
        thread.spawn(move || writer.run(&told))?;
        Ok(Self(Arc::new(Inner { commands, waiting, closed: AtomicBool::new(false) })))
    }

    /// Writes down that the job is to be done in any case; it is written when this returns `true`.
    /// `false` is for one that ends with this process: nothing of the kind is to be kept, or it could not
    /// be written, which the log says.
    ///
    /// # Errors
    ///
    /// There are too many of them.
    pub async fn accept(&self, accepted: Accepted) -> Result<bool, Error> {
        let Accepted { id, operation, subject, request } = accepted;
        let job = JobInfo {
            id,
            operation,
            subject,
            state: JobState::Running,
            cancel_requested: false,
            last_event_id: 0,
            created_at: SystemTime::now(),
        };
        let written = self.ask(|accepted| Command::Accept { job, request, accepted }).await;
        written.unwrap_or(Ok(false))
    }

    /// Forgets one that has come to nothing.
    pub fn discard(&self, id: JobId) {
        self.tell(Command::Discard(id));
    }

    /// Writes down that a job has failed which this process has taken over, and does not go on with.
    pub fn fail(&self, id: JobId, why: &str) {
        self.tell(Command::Fail(id, why.to_owned()));
    }

    /// Takes over what processes were doing that are no more; those that were accepted first come first.
    pub async fn claim(&self) -> Vec<Left> {
        self.ask(Command::Claim).await.unwrap_or_default()
    }

    /// From now on so much is kept.
    pub fn follow(&self, keep: Keep, bounds: Bounds) {
        self.tell(Command::Follow(keep, bounds));
    }

    /// Writes what it has been told. What it is told afterwards it passes over: jobs that end because
    /// their process does are left to the next one.
    pub async fn close(&self) {
        if !self.0.closed.swap(true, Relaxed) {
            let (to, closed) = oneshot::channel();
            drop(self.0.commands.send(Command::Close(to)));
            drop(timeout(ANSWERS, closed).await);
        }
    }

    fn tell(&self, command: Command) {
        let Inner { commands, waiting, closed } = &*self.0;
        if closed.load(Relaxed) {
            return;
        }
        let cost = command.cost();
        if waiting.fetch_add(cost, Relaxed) > WAITING {
            waiting.fetch_sub(cost, Relaxed);
            tracing::warn!("the journal of jobs is behind, and something is not written");
            return;
        }
        drop(commands.send(command));
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (to, answer) = oneshot::channel();
        self.tell(question(to));
        timeout(ANSWERS, answer).await.ok()?.ok()
    }
}

impl Journal for JobJournal {
    fn runs(&self, job: JobInfo) {
        self.tell(Command::Runs(job));
    }

    fn notes(&self, id: JobId, note: String) {
        self.tell(Command::Notes(id, note));
    }

    fn ended(&self, job: JobInfo, events: Option<Snapshot>) {
        self.tell(Command::Ended(job, events));
    }

    fn find(&self, id: JobId) -> BoxFuture<'_, Option<Found>> {
        Box::pin(async move { self.ask(|to| Command::Find(id, to)).await.flatten() })
    }

    fn list(&self) -> BoxFuture<'_, Vec<JobInfo>> {
        Box::pin(async move { self.ask(Command::List).await.unwrap_or_default() })
    }
}
