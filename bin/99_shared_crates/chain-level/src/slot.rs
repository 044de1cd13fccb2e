use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use daemon_lifecycle::Identity;
use tokio::sync::watch;

use crate::{
    gate::{Gate, Pass},
    memory::Memory,
    suspect::{Seat, Ward},
};

/// How long after one look at a process's freshness the next may follow, when nobody waits for it.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The place of one process of the next level: a hive's alias, a worker's model.
#[derive(Debug)]
pub struct Slot<T> {
    pub name: String,
    /// Held while a process is brought up: however many ask, one does it.
    pub bringing_up: tokio::sync::Mutex<()>,
    /// Requests that want the process in this place and have not got it yet.
    waiting: AtomicU32,
    /// Those that are tried again in a process beside this place.
    pub(crate) ward: Ward<Arc<Running<T>>>,
    /// Before which those requests wait that its process is not given yet.
    pub(crate) gate: Gate,
    current: Mutex<Option<Arc<Running<T>>>>,
    refreshed: Mutex<Refreshed>,
}

#[derive(Debug, Default)]
struct Refreshed {
    under_way: bool,
    last: Option<Instant>,
}

/// A process that is believed to answer.
pub struct Running<T> {
    pub handle: T,
    identity: Mutex<Identity>,
    /// Whether that process is alive, as its level sees it.
    alive: fn(&T, &Identity) -> bool,
    /// Of its machine.
    memory: Box<dyn Memory>,
    /// How many the machine had ended for want of memory when it was last known to live.
    kills: AtomicU64,
    /// Why nobody is to wait for it any more.
    given_up: watch::Sender<Option<String>>,
    /// Renewals of its lease, in a row, since anything came from it.
    missed: AtomicU32,
    being_renewed: AtomicBool,
    active: watch::Sender<u32>,
    /// How many requests it was answering when it was first found to have ended.
    active_at_its_end: OnceLock<u32>,
    since: Instant,
    /// What the process said of itself when it was last asked: others may use it too.
    reported: AtomicU32,
    used: Mutex<Instant>,
}

/// What a process says when its lease is renewed.
#[derive(Debug, Clone, Default)]
pub struct Renewed {
    /// How many requests it says that it answers, whoever sent them.
    pub requests: u32,
    /// Who answered, where that may be another generation than the one that is remembered.
    pub by: Option<Identity>,
}

/// Why a process that answers has not renewed its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lapse {
    /// It takes no requests, as one does that only finishes what it has.
    Refused(String),
    /// It says itself that what it does comes to no end.
    Stuck,
}

/// Counts a request as under way on a process, until it is dropped.
#[derive(Debug)]
pub struct Busy<T> {
    running: Arc<Running<T>>,
    /// Lets the next one in, before the process looks idle.
    pass: Option<Pass>,
    /// Of a request that is tried again beside the place; dropped after the request.
    seat: Option<Seat<Arc<Running<T>>>>,
}

/// A request that waits for the process in a place.
#[derive(Debug)]
pub(crate) struct Wants<T>(Arc<Slot<T>>);

/// The right to look at a process's freshness beside the requests; one at a time.
#[derive(Debug)]
pub struct RefreshTurn<T>(Arc<Slot<T>>);

impl<T> Slot<T> {
    /// An empty place.
    pub fn new(name: String) -> Self {
        Self {
            name,
            bringing_up: tokio::sync::Mutex::default(),
            waiting: AtomicU32::new(0),
            ward: Ward::default(),
            gate: Gate::default(),
            current: Mutex::default(),
            refreshed: Mutex::default(),
        }
    }

    pub fn current(&self) -> Option<Arc<Running<T>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `running` in the place; returns what was there.
    pub fn set(&self, running: Option<Arc<Running<T>>>) -> Option<Arc<Running<T>>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, running)
    }

    /// Puts `running` in the place if nothing is in it that lives.
    pub(crate) fn fill(&self, running: &Arc<Running<T>>) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_empty = current.as_ref().is_none_or(|running| running.is_lost());
        if is_empty {
            *current = Some(Arc::clone(running));
        }
        is_empty
    }

    /// Empties the place if `running` is still in it.
    pub fn forget(&self, running: &Arc<Running<T>>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|held| Arc::ptr_eq(held, running)) {
            *current = None;
        }
    }

    /// Counts a request as waiting for the process in this place, until that is dropped.
    pub(crate) fn wants(self: &Arc<Self>) -> Wants<T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Wants(Arc::clone(self))
    }

    /// How many requests wait until those before them have been answered.
    pub fn in_line(&self) -> usize {
        self.gate.waiting()
    }

    /// How many requests want the process in this place and have not got it yet.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Empties the place if `running` is still in it, answers no request, and nobody waits for it.
    pub fn forget_idle(&self, running: &Arc<Running<T>>) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = current.as_ref().is_some_and(|held| Arc::ptr_eq(held, running));
        let idle = is_there && self.waiting() == 0 && !running.is_busy();
        if idle {
            *current = None;
        }
        idle
    }

    /// `None` while somebody has the turn, or had it a moment ago.
    pub fn take_refresh_turn(self: &Arc<Self>) -> Option<RefreshTurn<T>> {
        let mut refreshed = self.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = refreshed.last.is_some_and(|last| last.elapsed() < REFRESH_INTERVAL);
        if refreshed.under_way || recent {
            return None;
        }
        refreshed.under_way = true;
        Some(RefreshTurn(Arc::clone(self)))
    }
}

impl<T> Running<T> {
    pub(crate) fn new(
        handle: T,
        identity: Identity,
        alive: fn(&T, &Identity) -> bool,
        memory: impl Memory + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            handle,
            identity: Mutex::new(identity),
            alive,
            kills: AtomicU64::new(memory.kills()),
            memory: Box::new(memory),
            given_up: watch::Sender::new(None),
            missed: AtomicU32::new(0),
            being_renewed: AtomicBool::new(false),
            active: watch::Sender::new(0),
            active_at_its_end: OnceLock::new(),
            since: Instant::now(),
            reported: AtomicU32::new(0),
            used: Mutex::new(Instant::now()),
        })
    }

    /// Whether exactly this process is alive: see [`crate::Level::is_alive`].
    pub fn is_alive(&self) -> bool {
        (self.alive)(&self.handle, &self.identity())
    }

    /// Who is behind the handle by the last word of it.
    pub fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it has ended by itself, or was ended because it hung.
    pub(crate) fn is_lost(&self) -> bool {
        self.given_up.borrow().is_some() || !self.is_alive()
    }

    /// Requests that it is answering now.
    pub fn active(&self) -> u32 {
        *self.active.borrow()
    }

    /// Requests that it was answering when this was first asked; of a process that has ended, by one of
    /// them.
    pub(crate) fn active_at_its_end(&self) -> usize {
        *self.active_at_its_end.get_or_init(|| self.active()) as usize
    }

    /// What is told of it, where it has ended because there was no memory left.
    pub(crate) fn starved(&self) -> Option<String> {
        self.memory.starved_since(self.kills.load(Ordering::SeqCst))
    }

    /// How many processes its machine has ended for want of memory.
    pub(crate) fn memory_kills(&self) -> u64 {
        self.memory.kills()
    }

    /// Resolves when a request has begun or ended on it since this was called.
    pub async fn has_changed(&self) {
        // The sender is in what this borrows.
        let _ = self.active.subscribe().changed().await;
    }

    /// Since it was brought up, or found.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether it answers a request now, ours or, by its own last report, somebody else's.
    pub fn is_busy(&self) -> bool {
        self.active() > 0 || self.reported.load(Ordering::SeqCst) > 0
    }

    /// Breaks off the requests that it is answering.
    pub(crate) fn give_up(&self, why: &str) {
        self.given_up.send_replace(Some(why.to_owned()));
    }

    /// Whether this is the only renewal of its lease under way, which [`Self::renewal_over`] ends.
    pub(crate) fn begin_renewal(&self) -> bool {
        !self.being_renewed.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn renewal_over(&self) {
        self.being_renewed.store(false, Ordering::SeqCst);
    }

    /// Counts a renewal of its lease that did not come to it; says how many that are in a row.
    pub(crate) fn missed(&self) -> u32 {
        self.missed.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Notes that it has said something, whatever has become of renewals: it may have so much to say that
    /// it is slow to answer those.
    pub(crate) fn heard(&self) {
        self.missed.store(0, Ordering::SeqCst);
    }

    /// Notes that its lease is renewed; `before` that so many processes had been ended for want of memory.
    pub(crate) fn renewed(&self, Renewed { requests, by }: Renewed, before: u64) {
        self.missed.store(0, Ordering::SeqCst);
        self.kills.store(before, Ordering::SeqCst);
        if let Some(by) = by {
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = by;
        }
        if self.reported.swap(requests, Ordering::SeqCst) > 0 || requests > 0 {
            self.touch();
        }
    }

    /// Since its last request began or ended; zero while it answers one.
    pub fn idle(&self) -> Duration {
        if self.is_busy() {
            return Duration::ZERO;
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl<T: fmt::Debug> fmt::Debug for Running<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (handle, active) = (&self.handle, self.active());
        let mut shown = f.debug_struct("Running");
        shown.field("handle", handle).field("active", &active).finish_non_exhaustive()
    }
}

impl<T> Busy<T> {
    pub fn new(running: Arc<Running<T>>) -> Self {
        running.active.send_modify(|active| *active += 1);
        running.touch();
        Self { running, pass: None, seat: None }
    }

    /// The same of a request that was let in.
    pub(crate) fn with(mut self, pass: Option<Pass>) -> Self {
        self.pass = pass;
        self
    }

    /// The same of a request that is tried again.
    pub(crate) fn in_ward(running: Arc<Running<T>>, seat: Seat<Arc<Running<T>>>) -> Self {
        let mut busy = Self::new(running);
        busy.seat = Some(seat);
        busy
    }

    pub(crate) fn running(&self) -> &Running<T> {
        &self.running
    }

    /// Resolves, with the reason, once nobody is to wait for the process any more.
    pub(crate) async fn given_up(&self) -> String {
        let mut given_up = self.running.given_up.subscribe();
        let why = given_up.wait_for(Option::is_some).await;
        // The sender is in what this holds.
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }
}

impl<T> Drop for Busy<T> {
    fn drop(&mut self) {
        drop(self.pass.take());
        self.running.touch();
        self.running.active.send_modify(|active| *active -= 1);
        drop(self.seat.take());
    }
}

impl<T> Drop for Wants<T> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T> Drop for RefreshTurn<T> {
    fn drop(&mut self) {
        let mut refreshed = self.0.refreshed.lock().unwrap_or_else(PoisonError::into_inner);
        *refreshed = Refreshed { under_way: false, last: Some(Instant::now()) };
    }
}
