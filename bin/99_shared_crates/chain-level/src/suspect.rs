//! Requests that may be why a process ended, and who of them is tried again beside whom.
//!
//! All that was under way when a process ended is tried again in another process that nobody else gets:
//! a quarter of it at a time, and of those whom the request in question ends once more a quarter again,
//! until it is alone. So it ends few processes however many were beside it, and each of those is ended
//! by it as often at most.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Which part of those that a process had when it ended are tried again at a time.
const PART: usize = 4;

/// How many a process is taken to have had whose end nobody here has seen: nobody knows any more. If it
/// was fewer, one that ends each process ends one more.
const UNSEEN: usize = 64;

/// A request that was under way when a process ended, and may be why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// How many suspects may be with a process at once, this one included.
    among: usize,
}

impl Suspect {
    /// Of one that is to have a process for itself.
    pub(crate) const ALONE: Self = Self { among: 1 };

    /// One of those that a process had whose end nobody here has seen: it may have been ended by
    /// something else, or with whoever could have told.
    pub(crate) fn unseen() -> Self {
        Self::one_of(UNSEEN)
    }

    /// One of so many that the process had when it ended.
    pub(crate) fn one_of(requests: usize) -> Self {
        Self { among: (requests / PART).max(1) }
    }

    /// The same of one that was a suspect already.
    pub(crate) fn again(self, before: Option<Self>) -> Self {
        let most = before.map_or(usize::MAX, |before| (before.among / PART).max(1));
        Self { among: self.among.min(most) }
    }

    /// Whether nobody else may be with its process: if that ends too, this is why.
    pub fn is_alone(self) -> bool {
        self == Self::ALONE
    }
}

/// The suspects of one place, and the process `P` in which they are tried again. Clones are the same.
#[derive(Debug)]
pub(crate) struct Ward<P>(Arc<Inside<P>>);

#[derive(Debug)]
struct Inside<P> {
    bringing_up: tokio::sync::Mutex<()>,
    process: Mutex<Option<P>>,
    line: Mutex<Line>,
}

/// Those who wait, and those who are with the process.
#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<Place, Arc<Notify>>,
    inside: BTreeSet<Place>,
    last: u64,
}

/// The least suspected first, and of these whoever came first.
type Place = (Reverse<usize>, u64);

/// A suspect's place in its ward, given up when it is dropped.
pub(crate) struct Seat<P> {
    ward: Ward<P>,
    place: Place,
    let_in: Arc<Notify>,
    /// What is to become of the process once nobody needs it here.
    settle: Box<dyn Fn(P) + Send + Sync>,
}

impl<P: Clone> Ward<P> {
    /// To be held while a process is brought up for them.
    pub(crate) async fn bringing_up(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.bringing_up.lock().await
    }

    /// The process in which suspects are tried again, if there is one.
    pub(crate) fn process(&self) -> Option<P> {
        lock(&self.0.process).clone()
    }

    /// Has them tried again in that one; returns the one before it.
    pub(crate) fn set(&self, process: P) -> Option<P> {
        lock(&self.0.process).replace(process)
    }
}

impl<P> Clone for Ward<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P> Default for Ward<P> {
    fn default() -> Self {
        let bringing_up = tokio::sync::Mutex::default();
        let (process, line) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inside { bringing_up, process, line }))
    }
}

impl Line {
    fn stand(&mut self, Suspect { among }: Suspect) -> (Place, Arc<Notify>) {
        self.last += 1;
        let (place, let_in) = ((Reverse(among), self.last), Arc::new(Notify::new()));
        self.waiting.insert(place, Arc::clone(&let_in));
        self.let_in();
        (place, let_in)
    }

    /// Returns whether nobody is left.
    fn leave(&mut self, place: Place) -> bool {
        self.waiting.remove(&place);
        self.inside.remove(&place);
        self.let_in();
        self.inside.is_empty()
    }

    /// Lets in as many as may be beside one another.
    fn let_in(&mut self) {
        while let Some(next) = self.waiting.first_entry() {
            let (Reverse(most), _) = self.inside.last().map_or(*next.key(), |last| *last);
            let (Reverse(own), _) = *next.key();
            if self.inside.len() >= most.min(own) {
                return;
            }
            let (place, let_in) = next.remove_entry();
            self.inside.insert(place);
            let_in.notify_one();
        }
    }
}

impl<P> Seat<P> {
    pub(crate) fn take(
        ward: &Ward<P>,
        suspect: Suspect,
        settle: impl Fn(P) + Send + Sync + 'static,
    ) -> Self {
        let (place, let_in) = lock(&ward.0.line).stand(suspect);
        Self { ward: ward.clone(), place, let_in, settle: Box::new(settle) }
    }

    /// Waits until this one may be with the process.
    pub(crate) async fn is_let_in(&self) {
        self.let_in.notified().await;
    }
}

impl<P> Drop for Seat<P> {
    fn drop(&mut self) {
        let process = {
            // Whoever comes now finds the process, or none.
            let mut process = lock(&self.ward.0.process);
            let is_last = lock(&self.ward.0.line).leave(self.place);
            process.take_if(|_| is_last)
        };
        if let Some(process) = process {
            (self.settle)(process);
        }
    }
}

impl<P> fmt::Debug for Seat<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("place", &self.place).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// How often each request was under way when a process ended, the first time included, and how many
    /// processes ended in all. The poisonous ones are those of `poison`; nobody else ends.
    fn tried(requests: usize, poison: &[usize]) -> (Vec<usize>, usize) {
        tried_as(Suspect::one_of(requests), requests, poison)
    }

    /// The same where they are suspected like that after the first time.
    fn tried_as(first: Suspect, requests: usize, poison: &[usize]) -> (Vec<usize>, usize) {
        let (mut line, mut ended, mut times) = (Line::default(), 1, vec![1; requests]);
        let mut who = HashMap::new();
        let mut suspects = vec![first; requests];
        for (one, suspect) in suspects.iter().enumerate() {
            who.insert(line.stand(*suspect).0, one);
        }
        while !line.inside.is_empty() {
            let inside: Vec<_> = line.inside.iter().copied().collect();
            let is_ended = inside.iter().any(|place| poison.contains(&who[place]));
            ended += usize::from(is_ended);
            for place in &inside {
                let one = who[place];
                if is_ended {
                    times[one] += 1;
                    if !suspects[one].is_alone() {
                        let again = Suspect::one_of(inside.len()).again(Some(suspects[one]));
                        suspects[one] = again;
                        who.insert(line.stand(again).0, one);
                    }
                }
                line.leave(*place);
            }
        }
        assert!(line.waiting.is_empty());
        (times, ended)
    }

    #[test]
    fn a_request_that_ends_each_process_is_found_in_few_and_ends_each_other_few_times() {
        for (requests, most) in [(1, 2), (2, 2), (4, 2), (8, 3), (128, 5), (1000, 6)] {
            for poison in [0, requests / 3, requests - 1] {
                let (times, ended) = tried(requests, &[poison]);
                assert_eq!(times[poison], ended);
                assert!(ended <= most, "{ended} of {requests}");
                let mut others = times.iter().enumerate().filter(|(one, _)| *one != poison);
                assert!(others.all(|(_, times)| *times < most), "{times:?}");
            }
        }
    }

    #[test]
    fn several_of_them_are_found_each() {
        let poison = [3, 500, 501, 999];
        let (times, ended) = tried(1000, &poison);
        assert!(ended <= 1 + 5 * poison.len(), "{ended}");
        assert!(times.iter().all(|times| *times <= 6), "{times:?}");
    }

    #[test]
    fn one_among_those_whose_process_ended_unseen_is_found_in_few_as_well() {
        for requests in [1, 2, 8, 128, 1000] {
            for poison in [0, requests / 3, requests - 1] {
                let (times, ended) = tried_as(Suspect::unseen(), requests, &[poison]);
                assert_eq!(times[poison], ended);
                assert!(ended <= 4, "{ended} of {requests}");
                let mut others = times.iter().enumerate().filter(|(one, _)| *one != poison);
                assert!(others.all(|(_, times)| *times < ended), "{times:?}");
            }
        }
    }

    #[test]
    fn without_such_a_request_all_are_tried_once_more() {
        assert_eq!(tried(1000, &[]), (vec![1; 1000], 1));
        assert_eq!(tried_as(Suspect::unseen(), 1000, &[]), (vec![1; 1000], 1));
    }

    #[test]
    fn one_that_is_to_be_alone_waits_for_all_others_and_they_for_it() {
        let mut line = Line::default();
        let three = [Suspect { among: 3 }; 4].map(|suspect| line.stand(suspect).0);
        let alone = [Suspect::ALONE; 2].map(|suspect| line.stand(suspect).0);
        let is_inside = |line: &Line| line.inside.iter().copied().collect::<Vec<_>>();
        assert_eq!(is_inside(&line), three[..3]);
        assert!(!line.leave(three[0]));
        assert_eq!(is_inside(&line), three[1..]);
        three[1..].iter().for_each(|place| _ = line.leave(*place));
        assert_eq!(is_inside(&line), alone[..1]);
        // Nobody joins it, however little suspected.
        let (late, _) = line.stand(Suspect { among: 9 });
        assert_eq!(is_inside(&line), alone[..1]);
        line.leave(alone[0]);
        assert_eq!(is_inside(&line), [late]);
        // Whoever waits may go away.
        assert!(!line.leave(alone[1]));
        assert!(line.leave(late));
    }
}
