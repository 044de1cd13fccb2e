//! A model's turn to have memory: whose request waits for it, who makes room, and in what order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chain_level::{Level as _, Metrics, Place, Running, Slot, Why};
use futures::future::select_all;
use narration_core::Narration;
use rbee_api::{ErrorBody, ErrorCode};
use rbee_config::for_here;
use worker_lifecycle::{WorkerConfig, WorkerHandle};

use super::Workers;
use crate::room::{self, Candidate, Step, TooLittle, Use};

/// How often memory is looked at while nothing is known to have changed.
const LOOK: Duration = Duration::from_millis(100);

/// How long the memory of a worker that has ended may take to be free, and a worker that is loaded to be
/// in its place.
const MEMORY_BACK: Duration = Duration::from_secs(5);

/// Models that wait for memory, the first to come first; and what is promised to those that load.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: tokio::sync::Mutex<()>,
    promised: Arc<AtomicU64>,
}

/// Memory that a worker is given, until it has taken it.
#[derive(Debug)]
pub(super) struct Room {
    bytes: u64,
    promised: Option<Arc<AtomicU64>>,
}

impl Room {
    /// For what takes no more memory than there is for it already.
    pub(super) fn none() -> Self {
        Self { bytes: 0, promised: None }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(promised) = &self.promised {
            promised.fetch_sub(self.bytes, Ordering::SeqCst);
        }
    }
}

impl Workers {
    /// Waits, each model in its turn, until such a worker fits into memory, and has others make room:
    /// those that are idle, and such as answer once their turn is over.
    ///
    /// # Errors
    ///
    /// It can never fit, or has not for as long as a request may wait.
    pub(super) async fn room(
        &self,
        place: &Place<'_, Self>,
        config: &WorkerConfig,
        is_waited_for: bool,
    ) -> Result<Room, ErrorBody> {
        if self.0.host.shares_engine(config) {
            return Ok(Room::none());
        }
        let name = &place.slot.name;
        // What is replaced in its place has ended when the next one is loaded.
        let own = place.stale.map_or(0, |stale| self.memory_of(stale));
        let needed = needed(config).await.saturating_sub(own);
        let (patience, began) = (self.0.config.current().worker.queue_timeout, Instant::now());
        let waiting = async {
            let _turn = self.0.turns.turn.lock().await;
            self.make_room(place, needed, is_waited_for).await
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(room) => room,
            Err(_) => {
                let message = format!(
                    "`{name}` has waited {} s for the memory of models that are answering \
                     (`./rbee model ps`): try again later, or raise `worker.queue_timeout`",
                    began.elapsed().as_secs()
                );
                Err(ErrorBody::new(ErrorCode::QueueFull, for_here(&message)))
            }
        }
    }

    async fn make_room(
        &self,
        place: &Place<'_, Self>,
        needed: u64,
        is_waited_for: bool,
    ) -> Result<Room, ErrorBody> {
        let name = &place.slot.name;
        let (mut is_told, mut unsettled) = (false, None::<Instant>);
        loop {
            let Some(available) = self.0.host.available_memory() else { return Ok(Room::none()) };
            let promised = &self.0.turns.promised;
            let promised_bytes = promised.load(Ordering::SeqCst);
            let available = available.saturating_sub(promised_bytes);
            let leaving = place.places.leaving();
            if promised_bytes > 0 || !leaving.is_empty() {
                // Until a while after the last of them there may be more than is seen.
                unsettled = Some(Instant::now());
            }
            let on_its_way = leaving.iter().map(|running| self.memory_of(running)).sum();
            let others = others(place);
            let candidate = |other| self.candidate(other, is_waited_for);
            let candidates: Vec<_> = others.iter().map(candidate).collect();
            match room::step(needed, available, on_its_way, &candidates) {
                Step::Load => {
                    promised.fetch_add(needed, Ordering::SeqCst);
                    return Ok(Room { bytes: needed, promised: Some(Arc::clone(promised)) });
                }
                Step::Stop(ids) => {
                    for (other, running) in &others {
                        if ids.contains(&running.handle.id) {
                            stop(&self.0.metrics, place, other, running);
                        }
                    }
                    continue;
                }
                // What is done for nobody keeps nobody waiting.
                Step::Wait if !is_waited_for && unsettled.is_none() => {
                    let reachable_bytes = available;
                    let too_little = TooLittle { needed_bytes: needed, reachable_bytes };
                    return Err(insufficient(name, too_little));
                }
                Step::Wait => {}
                Step::Never(_) if unsettled.is_some_and(|at| at.elapsed() < MEMORY_BACK) => {}
                Step::Never(too_little) => return Err(insufficient(name, too_little)),
            }
            if leaving.is_empty() && !std::mem::replace(&mut is_told, true) {
                let human = format!("`{name}` waits for the memory of models that are answering");
                Narration::new("hive", "worker_wait", human).about(name).emit();
            }
            // Its end is the other reason to look again.
            drop(tokio::time::timeout(LOOK, one_of_them_changes(&others)).await);
        }
    }

    fn candidate(&self, (slot, running): &Other, is_waited_for: bool) -> Candidate {
        let config = self.0.config.current();
        let is_pinned = config.model.get(&slot.name).is_some_and(|entry| entry.pinned);
        // Its head may answer at any time.
        let is_pinned =
            is_pinned || running.handle.part.as_ref().is_some_and(|part| !part.is_head());
        let (waiting, age) = (slot.waiting(), running.age());
        let using = match () {
            () if is_pinned => Use::Pinned,
            // Whoever waits for it has waited for this.
            () if waiting > 0 => Use::Busy,
            () if !running.is_busy() && slot.in_line() == 0 => {
                Use::Idle { ms: running.idle().as_millis() }
            }
            () if is_waited_for && age >= config.worker.turn => Use::Due { ms: age.as_millis() },
            () => Use::Busy,
        };
        let memory_bytes = self.memory_of(running);
        Candidate { id: running.handle.id.clone(), memory_bytes, using }
    }

    fn memory_of(&self, running: &Running<WorkerHandle>) -> u64 {
        self.0.host.memory_of(&running.handle.identity).unwrap_or_default()
    }
}

async fn one_of_them_changes(others: &[Other]) {
    let changes = others.iter().map(|(_, running)| Box::pin(running.has_changed()));
    let changes: Vec<_> = changes.collect();
    match changes.is_empty() {
        true => std::future::pending().await,
        false => drop(select_all(changes).await),
    }
}

type Other = (Arc<Slot<WorkerHandle>>, Arc<Running<WorkerHandle>>);

fn others(place: &Place<'_, Workers>) -> Vec<Other> {
    let slots = place.places.slots().into_iter();
    let others = slots.filter(|other| !Arc::ptr_eq(other, place.slot));
    others.filter_map(|other| Some((Arc::clone(&other), other.current()?))).collect()
}

/// Takes a worker out of its place. One that has begun to answer meanwhile finishes that first.
fn stop(
    metrics: &Metrics,
    place: &Place<'_, Workers>,
    slot: &Arc<Slot<WorkerHandle>>,
    running: &Arc<Running<WorkerHandle>>,
) {
    let why = if running.is_busy() {
        slot.forget(running);
        "when it has answered: it is another model's turn"
    } else if slot.forget_idle(running) {
        "to make room"
    } else {
        return;
    };
    metrics.ended(Workers::PROCESS, Why::MakesRoom);
    place.retire(Arc::clone(running), why);
}

fn insufficient(model: &str, TooLittle { needed_bytes, reachable_bytes }: TooLittle) -> ErrorBody {
    let message = format!(
        "`{model}` needs about {} MiB of memory; {} MiB are free or held by idle models, the rest \
         is in use: wait for the models that are answering (`./rbee worker list`), or take a \
         smaller one",
        needed_bytes >> 20,
        reachable_bytes >> 20
    );
    ErrorBody::new(ErrorCode::InsufficientMemory, for_here(&message))
}

/// Memory that such a worker is taken to need, in bytes.
pub(super) async fn needed(config: &WorkerConfig) -> u64 {
    let config = config.clone();
    let counted = tokio::task::spawn_blocking(move || {
        let more = worker_lifecycle::overhead_bytes(&config).unwrap_or_default();
        // Each part has its share of the weights.
        let parts = config.part.as_ref().map_or(1, |part| u64::from(part.parts.max(1)));
        room::needed(room::bytes_of(&config.model_path) / parts) + more
    });
    counted.await.unwrap_or_default()
}
