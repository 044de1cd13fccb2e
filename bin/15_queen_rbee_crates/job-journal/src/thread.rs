use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use job_server::{Found, JobId, JobInfo, Snapshot};
use tokio::sync::oneshot;

use crate::{
    Bounds, Error, Keep, Left,
    store::{self, Store, Writing},
};

/// How many of what it is told are written at once.
const BATCH: usize = 256;

/// How often what is over the bounds is looked for, at most.
const PRUNE_EVERY: Duration = Duration::from_secs(5);

/// How long the file is left alone after it could not be opened.
const OPEN_AGAIN: Duration = Duration::from_secs(30);

/// What the thread is told and asked.
pub(crate) enum Command {
    Accept {
        job: JobInfo,
        request: String,
        accepted: oneshot::Sender<Result<bool, Error>>,
    },
    Discard(JobId),
    Fail(JobId, String),
    Runs(JobInfo),
    Notes(JobId, String),
    Ended(JobInfo, Option<Snapshot>),
    Find(JobId, oneshot::Sender<Option<Found>>),
    List(oneshot::Sender<Vec<JobInfo>>),
    Claim(oneshot::Sender<Vec<Left>>),
    Follow(Keep, Bounds),
    /// Nothing is written afterwards.
    Close(oneshot::Sender<()>),
}

impl Command {
    /// About what it takes until it is done, in bytes.
    pub(crate) fn cost(&self) -> usize {
        let more = match self {
            Self::Accept { request, .. } => request.len(),
            Self::Notes(_, note) => note.len(),
            Self::Ended(_, events) => events.as_ref().map_or(0, Snapshot::size),
            _ => 0,
        };
        size_of::<Self>() + more
    }
}

/// Has the file; everything that is done with it is done here.
pub(crate) struct Writer {
    path: PathBuf,
    /// Who this process is.
    holder: String,
    /// Whether such a holder is alive.
    is_alive: Box<dyn Fn(&str) -> bool + Send>,
    keep: Keep,
    bounds: Bounds,
    waiting: Arc<AtomicUsize>,
    store: Option<Store>,
    /// When it was last tried in vain to open the file.
    failed: Option<Instant>,
    pruned: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        path: PathBuf,
        holder: String,
        is_alive: Box<dyn Fn(&str) -> bool + Send>,
        (keep, bounds): (Keep, Bounds),
        waiting: &Arc<AtomicUsize>,
    ) -> Self {
        let (waiting, store) = (Arc::clone(waiting), None);
        Self { path, holder, is_alive, keep, bounds, waiting, store, failed: None, pruned: None }
    }

    /// Does what it is told, until nobody is left who would tell it anything.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        self.forget_what_is_not_to_be_kept();
        while let Ok(first) = commands.recv() {
            let rest = commands.try_iter().take(BATCH - 1);
            let batch: Vec<_> = std::iter::once(first).chain(rest).collect();
            let done: usize = batch.iter().map(Command::cost).sum();
            let closed = self.batch(batch);
            self.waiting.fetch_sub(done, Relaxed);
            if let Some(closed) = closed {
                // First the file, so that whoever waits may remove its folder.
                drop(self.store.take());
                closed.send(()).ok();
                return;
            }
        }
    }

    /// Writes all that is to be written in one go, and answers afterwards; gives whom it was closed by.
    fn batch(&mut self, batch: Vec<Command>) -> Option<oneshot::Sender<()>> {
        let (mut writes, mut asked, mut closed) = (Vec::new(), Vec::new(), None);
        for command in batch {
            match command {
                Command::Find(..) | Command::List(_) => asked.push(command),
                Command::Follow(keep, bounds) => {
                    self.write(std::mem::take(&mut writes));
                    self.follow(keep, bounds);
                }
                Command::Close(by) => {
                    closed = Some(by);
                    break;
                }
                _ => writes.push(command),
            }
        }
        self.write(writes);
        for command in asked {
            self.answer(command);
        }
        self.prune();
        closed
    }

    fn write(&mut self, commands: Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let (keep, bounds) = (self.keep, self.bounds);
        if self.open().is_none() {
            return;
        }
        let Some(store) = &mut self.store else { return };
        let mut answers = Vec::new();
        let written = store.write().and_then(|writing| {
            for command in commands {
                answers.extend(one(&writing, command, keep, bounds, &self.is_alive)?);
            }
            writing.commit()
        });
        match written {
            Ok(()) => answers.into_iter().for_each(Answer::send),
            // Whoever waits is told by the loss of the sender.
            Err(error) => self.lost(&error),
        }
    }

    fn answer(&mut self, command: Command) {
        if self.open().is_none() {
            return;
        }
        let Some(store) = &self.store else { return };
        let answered = match command {
            Command::Find(id, to) => {
                store.find(id, &self.is_alive).map(|found| drop(to.send(found)))
            }
            Command::List(to) => store.list().map(|list| drop(to.send(list))),
            _ => Ok(()),
        };
        if let Err(error) = answered {
            self.lost(&error);
        }
    }

    /// The file, opened if need be; `None` where there is to be none, or it cannot be opened.
    fn open(&mut self) -> Option<&Store> {
        let is_early = self.failed.is_some_and(|at| at.elapsed() < OPEN_AGAIN);
        if self.store.is_none() && self.keep != Keep::Nothing && !is_early {
            let mut opened = Store::open(&self.path, &self.holder);
            if let Err(error) = &opened
                && store::is_unreadable(error)
            {
                match store::put_aside(&self.path) {
                    Ok(aside) => {
                        tracing::warn!(%error, aside = %aside.display(), "the journal of jobs cannot be read and is put aside");
                        opened = Store::open(&self.path, &self.holder);
                    }
                    Err(error) => tracing::warn!(%error, "nor can it be put aside"),
                }
            }
            match opened {
                Ok(store) => (self.store, self.failed) = (Some(store), None),
                Err(error) => {
                    let path = self.path.display();
                    tracing::warn!(%error, %path, "the journal of jobs cannot be opened: what is accepted from now on ends with this process");
                    self.failed = Some(Instant::now());
                }
            }
        }
        self.store.as_ref()
    }

    /// What could not be written is not written later: it would hold up what comes.
    fn lost(&mut self, error: &rusqlite::Error) {
        tracing::warn!(%error, path = %self.path.display(), "the journal of jobs cannot be used");
        if store::is_unreadable(error) {
            // It is put aside when it is opened again.
            self.store = None;
        }
    }

    fn follow(&mut self, keep: Keep, bounds: Bounds) {
        let keeps_less = (self.keep, self.bounds) != (keep, bounds);
        (self.keep, self.bounds) = (keep, bounds);
        if keeps_less {
            (self.pruned, self.failed) = (None, None);
            self.forget_what_is_not_to_be_kept();
        }
    }

    fn forget_what_is_not_to_be_kept(&mut self) {
        match self.keep {
            Keep::Answers => {}
            Keep::Names => {
                if self.open().is_none() {
                    return;
                }
                let Some(store) = &mut self.store else { return };
                let forgotten = store.write().and_then(|writing| {
                    let forgotten = writing.forget_texts()?;
                    writing.commit().map(|()| forgotten)
                });
                let shrunk = match forgotten {
                    Ok(true) => store.shrink(),
                    Ok(false) => Ok(()),
                    Err(error) => Err(error),
                };
                if let Err(error) = shrunk {
                    self.lost(&error);
                }
            }
            Keep::Nothing => {
                self.store = None;
                if let Err(error) = store::remove(&self.path) {
                    let path = self.path.display();
                    tracing::warn!(%error, %path, "the journal of jobs cannot be removed");
                }
            }
        }
    }

    fn prune(&mut self) {
        let Some(store) = &mut self.store else { return };
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
            return;
        }
        self.pruned = Some(Instant::now());
        let pruned = store.write().and_then(|writing| {
            let pruned = writing.prune(self.bounds)?;
            writing.commit().map(|()| pruned)
        });
        let shrunk = match pruned {
            Ok(true) => store.shrink(),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = shrunk {
            self.lost(&error);
        }
    }
}

/// What is said once it is written.
enum Answer {
    Accepted(oneshot::Sender<Result<bool, Error>>, Result<bool, Error>),
    Claimed(oneshot::Sender<Vec<Left>>, Vec<Left>),
}

impl Answer {
    fn send(self) {
        match self {
            Self::Accepted(to, accepted) => drop(to.send(accepted)),
            Self::Claimed(to, left) => drop(to.send(left)),
        }
    }
}

fn one(
    writing: &Writing<'_>,
    command: Command,
    keep: Keep,
    bounds: Bounds,
    is_alive: &dyn Fn(&str) -> bool,
) -> store::Result<Option<Answer>> {
    match command {
        Command::Accept { job, request, accepted } => {
            let is_kept = keep == Keep::Answers;
            let is_room = !is_kept || writing.accept(&job, &request, bounds.bytes)?;
            let full = Error::Full { max_bytes: bounds.bytes };
            let answer = if is_room { Ok(is_kept) } else { Err(full) };
            return Ok(Some(Answer::Accepted(accepted, answer)));
        }
        Command::Claim(to) => return Ok(Some(Answer::Claimed(to, writing.claim(is_alive)?))),
        Command::Discard(id) => writing.discard(id)?,
        Command::Fail(id, why) => writing.fail(id, &why)?,
        Command::Runs(job) => writing.runs(&job)?,
        Command::Notes(id, note) if keep == Keep::Answers => writing.notes(id, &note)?,
        Command::Ended(job, events) => {
            let events = events.filter(|_| keep == Keep::Answers);
            let events = events.and_then(|events| serde_json::to_string(&events).ok());
            writing.ended(&job, events.as_deref())?;
        }
        Command::Notes(..)
        | Command::Find(..)
        | Command::List(_)
        | Command::Follow(..)
        | Command::Close(_) => {}
    }
    Ok(None)
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("path", &self.path).finish_non_exhaustive()
    }
}
