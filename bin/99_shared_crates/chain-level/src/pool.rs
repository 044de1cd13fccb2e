use std::{collections::BTreeMap, fmt, sync::Arc};

use daemon_lifecycle::Waits;
use job_client::Source;
use narration_core::{Level as Severity, Narration};
use rbee_api::{ErrorBody, ErrorCode};
use reqwest::{Method, RequestBuilder};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{
    Why,
    gate::{Pass, TooMany},
    held::Held,
    level::{Level, Place},
    memory::Memory,
    places::Places,
    slot::{Busy, Running, Slot},
    suspect::{Seat, Suspect},
    wanted::Wanted,
};

/// The processes of the next level that are in use, by the names of their places: brought up when a
/// request needs one, replaced when stale, forgotten when gone. Clones share them.
pub struct Pool<L: Level>(Arc<Inner<L>>);

struct Inner<L: Level> {
    level: L,
    places: Places<L::Handle>,
}

impl<L: Level> Pool<L> {
    pub fn new(level: L) -> Self {
        Self(Arc::new(Inner { level, places: Places::default() }))
    }

    pub fn level(&self) -> &L {
        &self.0.level
    }

    pub fn places(&self) -> &Places<L::Handle> {
        &self.0.places
    }

    /// The process in the place of that name; it stays while the guard beside it is held.
    ///
    /// One that is stale answers unless `wanted` says otherwise, and is replaced beside the request.
    ///
    /// # Errors
    ///
    /// The level's, where there is to be no such place or no process can be brought up.
    pub async fn acquire(
        &self,
        name: &str,
        wanted: Wanted,
    ) -> Result<(L::Handle, Busy<L::Handle>), ErrorBody> {
        let name = self.level().admit(self.places(), name, &wanted).await?;
        let slot = self.places().slot(&name);
        let pass = match self.pass(&slot, &wanted).await {
            Ok(pass) => pass,
            Err(body) => {
                self.places().forget_unused(slot);
                return Err(body);
            }
        };
        // Counted from here on, so that a process that is found is not stopped before it is held.
        let waits = slot.wants();
        let acquired = self.acquire_in(&slot, &wanted).await;
        drop(waits);
        match acquired {
            Ok((handle, busy)) => {
                slot.gate.set(self.level().at_once(&name, Some(&handle)));
                Ok((handle, busy.with(pass)))
            }
            Err(body) => {
                drop(pass);
                self.places().forget_unused(slot);
                Err(body)
            }
        }
    }

    /// Waits for the turn of whoever asks; a suspect waits for others instead.
    async fn pass(
        &self,
        slot: &Arc<Slot<L::Handle>>,
        wanted: &Wanted,
    ) -> Result<Option<Pass>, ErrorBody> {
        let Some(caller) = wanted.caller.as_ref().filter(|_| wanted.suspect.is_none()) else {
            return Ok(None);
        };
        let occupant = slot.current();
        let occupant = occupant.as_ref().map(|running| &running.handle);
        let at_once = self.level().at_once(&slot.name, occupant);
        let others = self.places().in_line().saturating_sub(slot.in_line());
        let most = self.level().most_waiting().saturating_sub(others);
        let passed = slot.gate.pass(caller, at_once, most);
        match timeout(self.level().patience(), passed).await {
            Ok(Ok(pass)) => Ok(Some(pass)),
            Ok(Err(TooMany)) => Err(self.too_many()),
            Err(_) => {
                let message = format!(
                    "`{}` has had no turn for this request for {} s: try again later",
                    slot.name,
                    self.level().patience().as_secs()
                );
                Err(ErrorBody::new(ErrorCode::QueueFull, message))
            }
        }
    }

    /// The process that is to answer for `model`, none of those in the places `without`, once whatever the
    /// model needs beside it is there too. Where the chosen place is out of reach, another one is chosen.
    ///
    /// # Errors
    ///
    /// As of [`Self::acquire`] for the first place, and the level's where the model cannot be made ready; or
    /// no other place is left.
    pub async fn acquire_for(
        &self,
        model: &str,
        wanted: Wanted,
        without: &[String],
    ) -> Result<(L::Handle, Busy<L::Handle>), ErrorBody> {
        let (level, others) = (self.level(), self.level().beside(model));
        let (mut without, mut refused) = (without.to_vec(), None);
        let acquired = loop {
            let Some(name) = level.choose(self.places(), model, &without).await else {
                let message = format!("no other {} is there for `{model}`", L::PROCESS);
                let none = || ErrorBody::new(ErrorCode::InsufficientMemory, message);
                return Err(refused.unwrap_or_else(none));
            };
            match self.acquire(&name, wanted.clone()).await {
                // What was known of the others may have been late.
                Err(body) if L::CHOOSES && body.error.code == ErrorCode::HiveUnavailable => {
                    refused.get_or_insert(body);
                    without.push(name);
                }
                acquired => break acquired?,
            }
        };
        if others.is_empty() {
            return Ok(acquired);
        }
        let (mut handles, mut held) = (Vec::new(), Vec::new());
        for other in others {
            let (handle, busy) = self.acquire(&other, wanted.clone()).await?;
            handles.push(handle);
            held.push(busy);
        }
        level.prepare(model, &acquired.0, &handles, &wanted).await?;
        Ok(acquired)
    }

    /// Empties the place of that name; what was in it finishes what it has, and ends.
    ///
    /// Says whether there was anything.
    pub fn vacate(&self, name: &str, why: &'static str) -> bool {
        let Some(running) = self.places().occupant(name) else { return false };
        self.places().slot(name).forget(&running);
        self.retire(running, why);
        true
    }

    /// The same, where `end` ends what was in the place, and this waits for that.
    ///
    /// Says whether there was anything.
    pub async fn vacate_by(&self, name: &str, end: impl Future<Output = ()>) -> bool {
        let running = self.places().occupant(name);
        if let Some(running) = &running {
            self.places().slot(name).forget(running);
            // Known, so that it is looked after, and not taken over as a stranger.
            self.places().leaves(running);
        }
        end.await;
        if let Some(running) = &running {
            self.places().has_left(running);
        }
        running.is_some()
    }

    async fn acquire_in(
        &self,
        slot: &Arc<Slot<L::Handle>>,
        wanted: &Wanted,
    ) -> Result<(L::Handle, Busy<L::Handle>), ErrorBody> {
        if let Some(suspect) = wanted.suspect {
            return self.acquire_in_ward(slot, suspect, wanted).await;
        }
        if !wanted.distrust
            && let Some(running) = slot.current()
            // The port of a dead one may be somebody else's.
            && running.is_alive()
        {
            // Counted first, so that it is not stopped as idle while it is looked at.
            let busy = Busy::new(Arc::clone(&running));
            if !wanted.fresh {
                self.refresh_beside(slot);
                return Ok((running.handle.clone(), busy));
            }
            if self.level().is_current(&running.handle).await {
                return Ok((running.handle.clone(), busy));
            }
        }
        if self.places().waiting() > self.level().most_waiting() {
            return Err(self.too_many());
        }
        let running = self.bring_up(slot, wanted).await?;
        Ok((running.handle.clone(), Busy::new(running)))
    }

    fn too_many(&self) -> ErrorBody {
        let message = format!(
            "{} requests wait for a {} already: try again when some are answered",
            self.level().most_waiting(),
            L::PROCESS
        );
        ErrorBody::new(ErrorCode::QueueFull, message)
    }

    /// Replaces every process in a place that is stale.
    ///
    /// # Errors
    ///
    /// Of the first that cannot be replaced; it keeps no other from it.
    pub async fn update(&self, wanted: &Wanted) -> Result<(), ErrorBody> {
        let mut failed = None;
        for slot in self.places().slots() {
            if slot.current().is_some() {
                failed = failed.or(self.acquire(&slot.name, wanted.clone()).await.err());
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is told of the processes in their places that are alive.
    pub async fn list(&self) -> Vec<L::Description> {
        self.told_of(self.places().current()).await
    }

    /// The same of those that are in no place any more and finish what they have.
    pub async fn list_leaving(&self) -> Vec<L::Description> {
        self.told_of(self.places().leaving()).await
    }

    async fn told_of(&self, processes: Vec<Arc<Running<L::Handle>>>) -> Vec<L::Description> {
        let mut list = Vec::new();
        for running in processes.iter().filter(|running| running.is_alive()) {
            list.push(self.level().describe(running).await);
        }
        list
    }

    /// How many requests wait in each place in which any does, for its process or for those before them.
    pub fn waiting(&self) -> BTreeMap<String, u32> {
        let waiting = |slot: &Arc<Slot<L::Handle>>| {
            slot.waiting().saturating_add(u32::try_from(slot.in_line()).unwrap_or(u32::MAX))
        };
        let slots = self.places().slots().into_iter();
        let counted = slots.map(|slot| (slot.name.clone(), waiting(&slot)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Takes over the processes that are alive and that nobody here knows; stops none.
    pub async fn adopt(&self) {
        let known = self
            .places()
            .known()
            .into_iter()
            .map(|running| L::id(&running.handle).to_owned())
            .collect();
        for (name, handle) in self.level().others(known).await {
            let (slot, running) = (self.places().slot(&name), self.running(handle));
            // Two of one name are alive while one replaces the other.
            if slot.current().is_some() && !self.level().is_current(&running.handle).await {
                continue;
            }
            let human = format!("adopted the {} for `{name}`", L::PROCESS);
            narration::<L>("adopt", human).about(L::id(&running.handle)).emit();
            slot.set(Some(running));
        }
    }

    /// Lets a process that is in no place any more finish what it has and ends it, beside whatever goes
    /// on.
    pub fn retire(&self, old: Arc<Running<L::Handle>>, why: &'static str) {
        let pool = self.clone();
        self.places().leaves(&old);
        tokio::spawn(
            async move {
                pool.level().retire(&old, why).await;
                pool.places().has_left(&old);
            }
            .in_current_span(),
        );
    }

    async fn brought_up(
        &self,
        place: Place<'_, L>,
        wanted: &Wanted,
    ) -> Result<Arc<Running<L::Handle>>, ErrorBody> {
        let name = place.slot.name.clone();
        let brought = self.level().bring_up(place, wanted).await;
        let outcome = brought.as_ref().map(L::outcome).ok();
        self.level().metrics().brought_up(L::PROCESS, &name, outcome);
        brought.map(|handle| self.running(handle))
    }

    fn running(&self, handle: L::Handle) -> Arc<Running<L::Handle>> {
        let identity = L::identity(&handle).clone();
        Running::new(handle, identity, L::is_alive, MachineOf(self.level().clone()))
    }

    /// A process beside the place, which only suspects get, as many at a time as may be beside one
    /// another.
    async fn acquire_in_ward(
        &self,
        slot: &Arc<Slot<L::Handle>>,
        suspect: Suspect,
        wanted: &Wanted,
    ) -> Result<(L::Handle, Busy<L::Handle>), ErrorBody> {
        let (pool, place) = (self.clone(), Arc::clone(slot));
        let seat = Seat::take(&slot.ward, suspect, move |process: Arc<Running<L::Handle>>| {
            pool.places().has_left(&process);
            // It has shown that it works, and serves everybody where nothing else does.
            if !process.is_lost() && !place.fill(&process) {
                pool.retire(process, "in which requests were tried again");
            }
        });
        seat.is_let_in().await;
        let turn = slot.ward.bringing_up().await;
        let running = match slot.ward.process() {
            Some(running) if self.serves_suspects(&running, wanted).await => running,
            _ => self.bring_up_beside(slot, wanted).await?,
        };
        drop(turn);
        Ok((running.handle.clone(), Busy::in_ward(running, seat)))
    }

    async fn serves_suspects(&self, running: &Running<L::Handle>, wanted: &Wanted) -> bool {
        !running.is_lost() && (!wanted.fresh || self.level().is_current(&running.handle).await)
    }

    async fn bring_up_beside(
        &self,
        slot: &Arc<Slot<L::Handle>>,
        wanted: &Wanted,
    ) -> Result<Arc<Running<L::Handle>>, ErrorBody> {
        let retire = |old, why| self.retire(old, why);
        let place = Place { places: self.places(), slot, stale: None, retire: &retire };
        let running = self.brought_up(place, wanted).await?;
        // Known, so that it is looked after and adopted for nobody.
        self.places().leaves(&running);
        if let Some(adopted) = self.places().occupant(&slot.name)
            && L::id(&adopted.handle) == L::id(&running.handle)
        {
            slot.forget(&adopted);
        }
        if let Some(before) = slot.ward.set(Arc::clone(&running)) {
            self.places().has_left(&before);
            if !before.is_lost() {
                self.retire(before, "which another one has replaced");
            }
        }
        Ok(running)
    }

    /// Starts or replaces what is in the place; one caller at a time.
    async fn bring_up(
        &self,
        slot: &Arc<Slot<L::Handle>>,
        wanted: &Wanted,
    ) -> Result<Arc<Running<L::Handle>>, ErrorBody> {
        // Whoever has the turn may be building for nobody.
        let hurry = (wanted.waits != Waits::Nobody).then(|| self.level().hurry());
        let turn = slot.bringing_up.lock().await;
        drop(hurry);
        let mut answering = self.answering(slot, wanted).await;
        if answering.is_none() {
            // A process before this one may have left, or just brought up, one that is alive.
            self.adopt().await;
            answering = self.answering(slot, wanted).await;
        }
        // Somebody who was in front may have done it; or the connection was cut, not the process.
        if let Some(running) = &answering
            && (!wanted.fresh || self.level().is_current(&running.handle).await)
        {
            return Ok(Arc::clone(running));
        }
        let retire = |old, why| self.retire(old, why);
        let stale = answering.as_ref();
        let place = Place { places: self.places(), slot, stale, retire: &retire };
        let running = self.brought_up(place, wanted).await?;
        let replaced = slot.set(Some(Arc::clone(&running)));
        let id = L::id(&running.handle);
        if let Some(replaced) = replaced.filter(|old| L::id(&old.handle) != id) {
            self.level().metrics().ended(L::PROCESS, Why::Replaced);
            self.retire(replaced, "which another one has replaced");
        }
        drop(turn);
        Ok(running)
    }

    async fn answering(
        &self,
        slot: &Slot<L::Handle>,
        wanted: &Wanted,
    ) -> Option<Arc<Running<L::Handle>>> {
        // Another one may answer in its place.
        let running = slot.current().filter(|running| running.is_alive())?;
        self.level().answers(&running.handle, wanted.distrust).await.then_some(running)
    }

    /// Checks, after the request has gone its way, whether its process should be replaced.
    fn refresh_beside(&self, slot: &Arc<Slot<L::Handle>>) {
        let Some(turn) = slot.take_refresh_turn() else { return };
        let (pool, slot) = (self.clone(), Arc::clone(slot));
        tokio::spawn(async move {
            let stale = match slot.current() {
                Some(running) => !pool.level().is_current(&running.handle).await,
                None => false,
            };
            let wanted = Wanted { waits: Waits::Nobody, ..Wanted::of(true, false) };
            if stale && let Err(body) = pool.bring_up(&slot, &wanted).await {
                let why = format!("`{}` stays as it is: {}", slot.name, body.error.message);
                narration::<L>("stale", why).about(&slot.name).level(Severity::Warn).emit();
            }
            drop(turn);
        });
    }
}

/// The machine of a level's processes.
struct MachineOf<L>(L);

impl<L: Level> Memory for MachineOf<L> {
    fn kills(&self) -> u64 {
        self.0.memory_kills()
    }

    fn available(&self) -> Option<u64> {
        self.0.available_memory()
    }
}

/// Who answers in a process's name now has its jobs, or fetches them.
impl<L: Level> Source for Pool<L> {
    type Held = Held<L::Handle>;
    type Error = ErrorBody;

    async fn request(
        &self,
        at: &str,
        method: Method,
        path: &str,
        failed: usize,
    ) -> Result<(RequestBuilder, Held<L::Handle>), ErrorBody> {
        if let Some(reached) = self.level().reach(self.places(), at, &method, path).await {
            return reached;
        }
        let wanted = Wanted { distrust: failed > 0, ..Wanted::default() };
        let (handle, busy) = self.acquire(at, wanted).await?;
        Ok((self.level().request(&handle, method, path), L::hold(busy)))
    }
}

impl<L: Level> Clone for Pool<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Level> fmt::Debug for Pool<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("of", &L::PROCESS).finish_non_exhaustive()
    }
}

/// What a level narrates of its processes: `hive_stale`.
pub(crate) fn narration<L: Level>(what: &str, human: String) -> Narration {
    Narration::new(L::NARRATOR, format!("{}_{what}", L::PROCESS), human)
}
