//! Follows the sources: waits for a change, builds, says what came of it. A thread of its own.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvError, RecvTimeoutError, TryRecvError},
    time::{Duration, Instant},
};

use auto_update::{Artifact, AutoUpdater, BuildEvent, Error, Freshness, Watcher};
use tokio::sync::mpsc::{Sender, error::SendError};

use super::states::{self, States};

/// How long the kernel is waited for before orders are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Files that change again within this time are still being written.
const QUIET: Duration = Duration::from_millis(15);
/// However busy the files are, a build begins after this long.
const LONGEST_UNREST: Duration = Duration::from_secs(2);
/// For so long git may be in the middle of something.
const LONGEST_GIT: Duration = Duration::from_secs(10);
/// Where files have to be looked at one by one, that takes one part in so many of the time.
const SHARE: u32 = 20;

/// What a person wants of the follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Ask cargo, whatever has changed.
    Build,
    Pause,
    Resume,
}

/// What has happened to the sources.
#[derive(Debug)]
pub(super) enum News {
    /// A build begins; because of these files, where that is known.
    Changed {
        files: Vec<PathBuf>,
    },
    /// These files were written, and what they hold makes the same program.
    Touched {
        files: Vec<PathBuf>,
    },
    Build(BuildEvent),
    /// A program that is what its sources say.
    Built {
        artifact: Artifact,
    },
    Failed {
        error: Error,
    },
    /// A change that waits for the end of a pause.
    Paused,
}

pub(super) struct Follower {
    updater: AutoUpdater,
    watcher: Watcher,
    orders: Receiver<Order>,
    news: Sender<News>,
    paths: BTreeSet<PathBuf>,
    seen: States,
    is_paused: bool,
    /// A change has been noticed in the pause.
    is_owing: bool,
    /// The last build gave a program whose inputs are all known and watched.
    is_known: bool,
}

/// The other side is gone: nobody wants to know any more.
struct Left;

impl From<RecvError> for Left {
    fn from(_: RecvError) -> Self {
        Self
    }
}

impl From<SendError<News>> for Left {
    fn from(_: SendError<News>) -> Self {
        Self
    }
}

impl Follower {
    pub(super) fn new(updater: AutoUpdater, orders: Receiver<Order>, news: Sender<News>) -> Self {
        let watcher = updater.watch();
        let (paths, seen) = Default::default();
        Self {
            updater,
            watcher,
            orders,
            news,
            paths,
            seen,
            is_paused: false,
            is_owing: false,
            is_known: false,
        }
    }

    /// Builds, then follows until nobody listens any more.
    pub(super) fn run(mut self) {
        if self.build(false, Vec::new()).is_ok() {
            while self.step().is_ok() {}
        }
    }

    fn step(&mut self) -> Result<(), Left> {
        match self.orders.try_recv() {
            Ok(order) => return self.obey(order),
            Err(TryRecvError::Disconnected) => return Err(Left),
            Err(TryRecvError::Empty) => {}
        }
        if self.is_known && self.watcher.is_watching() {
            // A queue that cannot be waited for is looked at by the next step.
            if !self.watcher.wait(LOOK).unwrap_or(true) {
                return Ok(());
            }
        } else {
            let began = Instant::now();
            let has_changed = !self.files_changed().is_empty();
            let pause = (began.elapsed() * SHARE).max(LOOK);
            if !has_changed {
                return match self.orders.recv_timeout(pause) {
                    Ok(order) => self.obey(order),
                    Err(RecvTimeoutError::Timeout) => Ok(()),
                    Err(RecvTimeoutError::Disconnected) => Err(Left),
                };
            }
        }
        // What was ordered before a file was saved counts for it.
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order)?;
        }
        if self.is_paused {
            if !self.is_owing {
                self.is_owing = true;
                self.tell(News::Paused)?;
            }
            return self.orders.recv().map_err(Left::from).and_then(|order| self.obey(order));
        }
        self.look()
    }

    fn obey(&mut self, order: Order) -> Result<(), Left> {
        match order {
            Order::Build => self.build(true, Vec::new()),
            Order::Pause => {
                self.is_paused = true;
                Ok(())
            }
            Order::Resume => {
                self.is_paused = false;
                if std::mem::take(&mut self.is_owing) { self.look() } else { Ok(()) }
            }
        }
    }

    /// Something may have changed: finds out what that comes to, once all is quiet.
    fn look(&mut self) -> Result<(), Left> {
        let now = self.settle();
        let files = now.changed_since(&self.seen);
        // Nothing is lost between the two looks: what changes after the verdict is heard of anew.
        match self.watcher.check() {
            Ok(Freshness::Fresh(artifact)) => {
                self.seen = now;
                if !self.is_known {
                    self.is_known = true;
                    self.paths = states::inputs(&self.updater);
                    self.seen = States::of(&self.paths);
                }
                if files.is_empty() {
                    return Ok(());
                }
                self.tell(News::Touched { files })?;
                self.tell(News::Built { artifact })
            }
            Ok(Freshness::Stale(_)) => self.build(false, files),
            // Whether anything has changed is not to be told from the verdict.
            Ok(Freshness::Unknown(_)) | Err(_) if files.is_empty() => Ok(()),
            Ok(Freshness::Unknown(_)) | Err(_) => self.build(false, files),
        }
    }

    fn build(&mut self, force: bool, files: Vec<PathBuf>) -> Result<(), Left> {
        self.tell(News::Changed { files })?;
        if self.paths.is_empty() {
            self.paths = states::everything(&self.updater);
        }
        let before = States::of(&self.paths);
        let updater = self.updater.clone().force(force);
        let news = &self.news;
        let result = updater.ensure_built_with(|event| {
            // Who has left is noticed once the build is over.
            news.blocking_send(News::Build(event)).unwrap_or(());
        });
        let verdict = result.is_ok().then(|| self.watcher.check());
        // Fresh by all that is known: what happens from now on is heard of.
        self.is_known = matches!(verdict, Some(Ok(Freshness::Fresh(_))));
        self.paths = if self.is_known {
            states::inputs(&self.updater)
        } else {
            states::everything(&self.updater)
        };
        let now = States::of(&self.paths);
        // What changed during a build that cannot vouch for it has yet to be looked at.
        self.seen = if self.is_known { now } else { now.with_what_was_seen(&before) };
        match result {
            Ok(artifact) => self.tell(News::Built { artifact }),
            Err(error) => self.tell(News::Failed { error }),
        }
    }

    fn files_changed(&self) -> Vec<PathBuf> {
        if self.is_known {
            return States::of(&self.paths).changed_since(&self.seen);
        }
        States::of(&states::everything(&self.updater)).changed_since(&self.seen)
    }

    /// The states of the files once they stay the same for a moment.
    fn settle(&self) -> States {
        let began = Instant::now();
        let root = self.updater.workspace_root();
        let git = root.ancestors().map(|dir| dir.join(".git")).find(|dir| dir.is_dir());
        let lock = git.map(|dir| dir.join("index.lock"));
        let take = || {
            let all = (!self.is_known).then(|| states::everything(&self.updater));
            States::of(all.as_ref().unwrap_or(&self.paths))
        };
        let mut states = take();
        loop {
            pause(QUIET);
            let is_locked = lock.as_ref().is_some_and(|lock| lock.exists());
            let next = take();
            let is_quiet = next.changed_since(&states).is_empty();
            states = next;
            let limit = if is_locked { LONGEST_GIT } else { LONGEST_UNREST };
            if (is_quiet && !is_locked) || began.elapsed() > limit {
                return states;
            }
        }
    }

    fn tell(&self, news: News) -> Result<(), Left> {
        self.news.blocking_send(news).map_err(Left::from)
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when files have become quiet")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}
