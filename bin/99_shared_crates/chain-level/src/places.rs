use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::slot::{Running, Slot};

/// The places of a level's processes by their names, and the processes that are in no place any more.
pub struct Places<T> {
    slots: Mutex<BTreeMap<String, Arc<Slot<T>>>>,
    /// They finish what they have.
    leaving: Mutex<Vec<Arc<Running<T>>>>,
}

impl<T> Places<T> {
    /// The place of that name, perhaps empty.
    pub fn slot(&self, name: &str) -> Arc<Slot<T>> {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(name.to_owned());
        Arc::clone(slot.or_insert_with(|| Arc::new(Slot::new(name.to_owned()))))
    }

    pub fn slots(&self) -> Vec<Arc<Slot<T>>> {
        lock(&self.slots).values().map(Arc::clone).collect()
    }

    /// What is in the place of that name, if there is such a place.
    pub fn occupant(&self, name: &str) -> Option<Arc<Running<T>>> {
        lock(&self.slots).get(name)?.current()
    }

    /// How many requests wait for a process, in all places.
    pub(crate) fn waiting(&self) -> usize {
        self.slots().iter().map(|slot| slot.waiting() as usize).sum()
    }

    /// How many requests wait for those before them, in all places.
    pub(crate) fn in_line(&self) -> usize {
        self.slots().iter().map(|slot| slot.in_line()).sum()
    }

    /// The process that `is_it`, in a place or on its way out of one.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<Arc<Running<T>>> {
        self.known().into_iter().find(|running| is_it(&running.handle))
    }

    /// The processes in their places.
    pub(crate) fn current(&self) -> Vec<Arc<Running<T>>> {
        self.slots().into_iter().filter_map(|slot| slot.current()).collect()
    }

    /// Those that are in no place any more, and finish what they have.
    pub fn leaving(&self) -> Vec<Arc<Running<T>>> {
        lock(&self.leaving).clone()
    }

    /// All processes, also those that leave.
    pub(crate) fn known(&self) -> Vec<Arc<Running<T>>> {
        self.current().into_iter().chain(self.leaving()).collect()
    }

    /// Keeps a process that is in no place until it [`has_left`](Self::has_left).
    pub(crate) fn leaves(&self, running: &Arc<Running<T>>) {
        lock(&self.leaving).push(Arc::clone(running));
    }

    pub(crate) fn has_left(&self, running: &Arc<Running<T>>) {
        lock(&self.leaving).retain(|leaving| !Arc::ptr_eq(leaving, running));
    }

    /// Keeps no place for what is not to be had.
    pub(crate) fn forget_unused(&self, slot: Arc<Slot<T>>) {
        let mut slots = lock(&self.slots);
        let (name, is_empty) = (slot.name.clone(), slot.current().is_none());
        drop(slot);
        // Whoever else waits for it holds it, and forgets it in turn.
        if is_empty && slots.get(&name).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&name);
        }
    }
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), leaving: Mutex::default() }
    }
}

impl<T> fmt::Debug for Places<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.slots().iter().map(|slot| slot.name.clone()).collect();
        f.debug_struct("Places").field("names", &names).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
