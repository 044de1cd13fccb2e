//! The line before a process: so many requests are given to it at once, and those that wait for it come
//! in turns of those who sent them, so that one who sends hundreds keeps nobody else waiting for all
//! of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Who sends requests, as far as turns go.
pub(crate) type Caller = Arc<str>;

/// The line before one place. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<Line>>);

/// The right of one request to be with the process; dropped when it is over.
#[derive(Debug)]
pub(crate) struct Pass(Option<Gate>);

/// Others who wait are more, or have waited longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

#[derive(Debug)]
struct Line {
    inside: usize,
    at_once: usize,
    /// Those who wait, by who sent them.
    waiting: HashMap<Caller, VecDeque<Waiter>>,
    /// Whose turn it is: each who waits once, the next one in front.
    turns: VecDeque<Caller>,
    last: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    let_in: oneshot::Sender<Result<Pass, TooMany>>,
}

/// A place in the line, given up when it is dropped.
#[derive(Debug)]
struct Standing<'a> {
    gate: &'a Gate,
    caller: Caller,
    number: u64,
}

impl Gate {
    /// Waits for the caller's turn, where `at_once` are with the process already; no more than `most` wait.
    ///
    /// # Errors
    ///
    /// They do, and nobody else has more of them. Where somebody has, the last that came of theirs gives up
    /// its place.
    pub(crate) async fn pass(
        &self,
        caller: &Caller,
        at_once: usize,
        most: usize,
    ) -> Result<Pass, TooMany> {
        let (let_in, turn) = oneshot::channel();
        let (standing, gone) = {
            let mut line = self.line();
            line.at_once = at_once;
            if line.inside < at_once && line.turns.is_empty() {
                line.inside += 1;
                return Ok(Pass(Some(self.clone())));
            }
            let gone = line.make_room(caller, most)?;
            line.last += 1;
            let number = line.last;
            line.stand(caller, Waiter { number, let_in });
            (Standing { gate: self, caller: Arc::clone(caller), number }, gone)
        };
        if let Some(gone) = gone {
            drop(gone.let_in.send(Err(TooMany)));
        }
        self.let_in();
        let passed = turn.await;
        drop(standing);
        passed.unwrap_or(Err(TooMany))
    }

    /// From now on so many are let in at once.
    pub(crate) fn set(&self, at_once: usize) {
        self.line().at_once = at_once;
        self.let_in();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.line().count()
    }

    /// Lets in whoever may come in.
    fn let_in(&self) {
        loop {
            let Some(next) = self.line().next() else { return };
            // Whoever has gone meanwhile gives it back.
            drop(next.let_in.send(Ok(Pass(Some(self.clone())))));
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn count(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }

    fn stand(&mut self, caller: &Caller, waiter: Waiter) {
        let own = self.waiting.entry(Arc::clone(caller)).or_default();
        if own.is_empty() {
            self.turns.push_back(Arc::clone(caller));
        }
        own.push_back(waiter);
    }

    /// Counts the next in turn as inside.
    fn next(&mut self) -> Option<Waiter> {
        if self.inside >= self.at_once {
            return None;
        }
        let caller = self.turns.pop_front()?;
        let own = self.waiting.get_mut(&caller)?;
        let next = own.pop_front()?;
        if own.is_empty() {
            self.waiting.remove(&caller);
        } else {
            self.turns.push_back(caller);
        }
        self.inside += 1;
        Some(next)
    }

    /// Whoever is to go so that one more of the caller's may wait.
    fn make_room(&mut self, caller: &Caller, most: usize) -> Result<Option<Waiter>, TooMany> {
        if self.count() < most {
            return Ok(None);
        }
        let own = self.waiting.get(caller).map_or(0, VecDeque::len);
        let largest = self.waiting.iter().max_by_key(|(_, of)| of.len());
        let (largest, of) = largest.ok_or(TooMany)?;
        if of.len() <= own + 1 {
            return Err(TooMany);
        }
        let (largest, last) = (Arc::clone(largest), of.back().ok_or(TooMany)?.number);
        Ok(self.leave(&largest, last))
    }

    fn leave(&mut self, caller: &Caller, number: u64) -> Option<Waiter> {
        let own = self.waiting.get_mut(caller)?;
        let index = own.iter().position(|waiter| waiter.number == number)?;
        let gone = own.remove(index);
        if own.is_empty() {
            self.waiting.remove(caller);
            self.turns.retain(|other| other != caller);
        }
        gone
    }
}

impl Default for Line {
    fn default() -> Self {
        let (waiting, turns) = (HashMap::new(), VecDeque::new());
        Self { inside: 0, at_once: usize::MAX, waiting, turns, last: 0 }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            gate.line().inside -= 1;
            gate.let_in();
        }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        drop(self.gate.line().leave(&self.caller, self.number));
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::BoxFuture};

    use super::*;

    /// Requests in the order in which they were let in, each named by its caller and number.
    struct Asked {
        gate: Gate,
        waiting: Vec<(String, BoxFuture<'static, Result<Pass, TooMany>>)>,
    }

    impl Asked {
        fn at(at_once: usize) -> (Self, Vec<Pass>) {
            let gate = Gate::default();
            let inside = (0..at_once).map(|_| {
                let passed = gate.pass(&"inside".into(), at_once, 9).now_or_never();
                passed.unwrap().unwrap()
            });
            let inside = inside.collect();
            (Self { gate, waiting: Vec::new() }, inside)
        }

        fn ask(&mut self, caller: &str, at_once: usize, most: usize) {
            let nth = self.waiting.iter().filter(|(name, _)| name.starts_with(caller)).count();
            let (gate, who) = (self.gate.clone(), Caller::from(caller));
            let mut asked = async move { gate.pass(&who, at_once, most).await }.boxed();
            assert!((&mut asked).now_or_never().is_none(), "it has to wait");
            self.waiting.push((format!("{caller}{nth}"), asked));
        }

        /// Who has been let in or refused since this was last asked.
        fn told(&mut self) -> Vec<(String, Result<Pass, TooMany>)> {
            let mut told = Vec::new();
            self.waiting.retain_mut(|(name, asked)| match asked.now_or_never() {
                Some(passed) => {
                    told.push((name.clone(), passed));
                    false
                }
                None => true,
            });
            told
        }

        /// Lets in one after the other.
        fn order(&mut self, inside: Vec<Pass>) -> Vec<String> {
            let (mut order, mut inside) = (Vec::new(), inside);
            while let Some(pass) = inside.pop() {
                drop(pass);
                for (name, passed) in self.told() {
                    order.push(name);
                    inside.push(passed.unwrap());
                }
            }
            order
        }
    }

    #[test]
    fn callers_take_turns_however_many_requests_each_has() {
        let (mut asked, inside) = Asked::at(1);
        for caller in ["a", "a", "a", "a", "b", "b", "c"] {
            asked.ask(caller, 1, 9);
        }
        assert_eq!(asked.order(inside), ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]);
        assert_eq!(asked.gate.waiting(), 0);
    }

    #[test]
    fn whoever_goes_away_gives_up_the_turn() {
        let (mut asked, inside) = Asked::at(1);
        for caller in ["a", "b", "c"] {
            asked.ask(caller, 1, 9);
        }
        drop(asked.waiting.remove(1));
        assert_eq!(asked.gate.waiting(), 2);
        assert_eq!(asked.order(inside), ["a0", "c0"]);
    }

    #[test]
    fn whoever_goes_away_when_it_was_let_in_lets_the_next_one_in() {
        let (mut asked, inside) = Asked::at(1);
        asked.ask("a", 1, 9);
        asked.ask("b", 1, 9);
        drop(inside);
        // It has not looked yet.
        drop(asked.waiting.remove(0));
        let told = asked.told();
        assert!(matches!(&told[..], [(name, Ok(_))] if name == "b0"), "{told:?}");
    }

    #[test]
    fn where_too_many_wait_the_one_with_the_most_gives_up_its_last() {
        let (mut asked, inside) = Asked::at(1);
        for _ in 0..3 {
            asked.ask("a", 1, 3);
        }
        asked.ask("b", 1, 3);
        let refused = asked.told();
        assert!(matches!(&refused[..], [(name, Err(TooMany))] if name == "a2"), "{refused:?}");
        assert!(matches!(asked.gate.pass(&"a".into(), 1, 3).now_or_never(), Some(Err(TooMany))));
        // Two and one: nobody has more than another would have.
        assert!(matches!(asked.gate.pass(&"b".into(), 1, 3).now_or_never(), Some(Err(TooMany))));
        assert_eq!(asked.order(inside), ["a0", "b0", "a1"]);
    }

    #[test]
    fn more_are_let_in_when_more_may_be_at_once() {
        let (mut asked, _inside) = Asked::at(1);
        asked.ask("a", 1, 9);
        asked.ask("a", 1, 9);
        asked.gate.set(2);
        assert_eq!(asked.told().len(), 1);
        asked.gate.set(usize::MAX);
        assert_eq!(asked.told().len(), 1);
    }
}
