//! The life of one generation: its phases, and what leads from one to the next.

use std::time::Instant;

use crate::state::State;

/// Where this generation is in its life. What follows from it is asked of it: whether connections
/// are accepted, and whether the end has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not ready yet, or ready and waiting until the generation before has paused.
    Starting,
    Serving,
    /// Serves, and a new generation has copies of the listeners.
    Prepared,
    /// Paused: the new generation is about to accept.
    LameDuck,
    /// Paused, and stands by to resume: the new generation accepts and is on probation.
    Probation,
    /// Accepts nothing any more and finishes what it has.
    Draining(Shutdown),
}

/// Why a daemon is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// A starter asked for it.
    Stop,
    /// A new generation has taken over.
    Replaced,
    /// SIGTERM or SIGINT.
    Signal,
    /// The starter of this generation went away before the hand-over.
    Abandoned,
}

/// What a daemon is told when it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    pub reason: ShutdownReason,
    /// When streams that still run should say so and end; a little later they are cut.
    pub drain_deadline: Instant,
}

/// What happens to a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It is ready, and no generation before it accepts.
    Serve,
    /// A new generation asked for the listeners.
    Prepare,
    /// The new generation takes over.
    Take,
    /// The new generation accepts.
    Accepting,
    /// A newer generation takes over from the one that is on probation.
    HandOn,
    /// The new generation failed.
    Resume,
    /// It is to end.
    End(Shutdown),
}

/// The phase after `event`; `phase` itself where the event means nothing in it.
///
/// `docs/handover.md` has it as a table.
pub(super) fn next(phase: Phase, event: Event) -> Phase {
    match (phase, event) {
        (Phase::Starting, Event::Serve) => Phase::Serving,
        (Phase::Serving, Event::Prepare) => Phase::Prepared,
        (Phase::Prepared, Event::Take) | (Phase::Probation, Event::HandOn) => Phase::LameDuck,
        (Phase::LameDuck, Event::Accepting) => Phase::Probation,
        (Phase::Prepared | Phase::LameDuck | Phase::Probation, Event::Resume) => Phase::Serving,
        // An end is never taken back, nor put off.
        (Phase::Draining(begun), Event::End(end)) => Phase::Draining(Shutdown {
            drain_deadline: begun.drain_deadline.min(end.drain_deadline),
            ..begun
        }),
        (_, Event::End(end)) => Phase::Draining(end),
        (same, _) => same,
    }
}

impl Phase {
    pub(super) fn accepts(self) -> bool {
        matches!(self, Self::Serving | Self::Prepared)
    }

    /// How it ends, once that has begun.
    pub(super) fn end(self) -> Option<Shutdown> {
        match self {
            Self::Draining(end) => Some(end),
            _ => None,
        }
    }

    pub(super) fn state(self) -> State {
        match self {
            Self::Starting => State::Starting,
            Self::Serving => State::Serving,
            Self::Prepared => State::Prepared,
            Self::LameDuck => State::LameDuck,
            Self::Probation => State::Probation,
            Self::Draining(_) => State::Draining,
        }
    }
}

impl Event {
    pub(super) fn end(reason: ShutdownReason, drain_deadline: Instant) -> Self {
        Self::End(Shutdown { reason, drain_deadline })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serve => "Serve",
            Self::Prepare => "Prepare",
            Self::Take => "Take",
            Self::Accepting => "Accepting",
            Self::HandOn => "HandOn",
            Self::Resume => "Resume",
            Self::End(_) => "End",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn end_in(seconds: u64) -> Shutdown {
        // One moment for the whole test, so that deadlines can be compared.
        static NOW: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let now = *NOW.get_or_init(Instant::now);
        let drain_deadline = now + Duration::from_secs(seconds);
        Shutdown { reason: ShutdownReason::Stop, drain_deadline }
    }

    fn phases() -> [Phase; 6] {
        let draining = Phase::Draining(end_in(9));
        [
            Phase::Starting,
            Phase::Serving,
            Phase::Prepared,
            Phase::LameDuck,
            Phase::Probation,
            draining,
        ]
    }

    fn events() -> [Event; 7] {
        [
            Event::Serve,
            Event::Prepare,
            Event::Take,
            Event::Accepting,
            Event::HandOn,
            Event::Resume,
            Event::End(end_in(9)),
        ]
    }

    /// The rows `| From | Event | To |` of the paper.
    fn drawn() -> Vec<(String, String, String)> {
        let paper = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/handover.md");
        let paper = fs::read_to_string(paper).unwrap();
        let table = paper.split("<!-- phases -->").nth(1).unwrap();
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        rows.map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().replace('`', "")).skip(1);
            let mut cell = || cells.next().unwrap();
            (cell(), cell(), cell())
        })
        .collect()
    }

    #[test]
    fn the_table_in_the_paper_is_what_the_code_does() {
        let mut done = Vec::new();
        for from in phases() {
            for event in events() {
                let to = next(from, event);
                if to != from {
                    let name = |phase: Phase| format!("{:?}", phase.state());
                    done.push((name(from), event.name().to_owned(), name(to)));
                }
            }
        }
        let mut drawn = drawn();
        done.sort();
        drawn.sort();
        assert_eq!(drawn, done);
    }

    #[test]
    fn an_end_is_never_taken_back_and_its_deadline_only_comes_nearer() {
        let ending = Phase::Draining(end_in(5));
        for event in events() {
            assert!(next(ending, event).end().is_some(), "{event:?}");
        }
        assert_eq!(next(ending, Event::End(end_in(9))).end(), Some(end_in(5)));
        assert_eq!(next(ending, Event::End(end_in(1))).end(), Some(end_in(1)));
    }

    #[test]
    fn what_was_said_first_of_an_end_stays_its_reason() {
        let replaced = Shutdown { reason: ShutdownReason::Replaced, ..end_in(5) };
        let then = next(Phase::Draining(replaced), Event::End(end_in(1)));
        assert_eq!(then.end().unwrap().reason, ShutdownReason::Replaced);
    }

    #[test]
    fn of_two_generations_one_accepts() {
        // While the old one goes through a hand-over, the new one serves from `Accepting` on.
        let mut old = Phase::Serving;
        for (event, new_accepts) in [
            (Event::Prepare, false),
            (Event::Take, false),
            (Event::Accepting, true),
            (Event::HandOn, false),
            (Event::Accepting, true),
        ] {
            old = next(old, event);
            assert!(!(old.accepts() && new_accepts), "{event:?}");
        }
        assert!(next(old, Event::Resume).accepts());
    }
}
