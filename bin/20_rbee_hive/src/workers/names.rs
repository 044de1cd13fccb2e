//! Names that are about to be given to workers: two that are started at once have one each.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<HashSet<String>>>);

/// Keeps a name until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    name: String,
    names: Names,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the name, if nobody does.
    pub(super) fn reserve(&self, name: String) -> Option<Reserved> {
        let is_free = self.lock().insert(name.clone());
        is_free.then(|| Reserved { name, names: self.clone() })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.names.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn a_name_is_kept_for_one_until_its_process_has_it() {
        let names = Names::default();
        let first = names.reserve("w.0".to_owned());
        assert!(first.is_some());
        assert!(names.reserve("w.0".to_owned()).is_none());
        assert!(names.reserve("w.1".to_owned()).is_some());
        drop(first);
        assert!(names.reserve("w.0".to_owned()).is_some());
    }
}
