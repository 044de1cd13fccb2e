use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    samples::{Samples, seconds, shown},
    stream::Streams,
};

/// What is done to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not counted: the streams have begun together.
    Beginning,
    Undisturbed,
    Replacing,
    Restarting,
}

const PHASES: [Phase; 4] =
    [Phase::Beginning, Phase::Undisturbed, Phase::Replacing, Phase::Restarting];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `GET /health` at the queen.
    Queen,
    /// The same at the hive.
    Hive,
    /// A short one, not streamed, of the worker through queen and hive.
    Completion,
}

const KINDS: [(Kind, &str); 3] = [
    (Kind::Queen, "queen /health"),
    (Kind::Hive, "hive /health"),
    (Kind::Completion, "completion"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    /// A status of 500 or more.
    ServerError,
    /// Any other status, or not what was asked for.
    Wrong,
    /// Status 0: refused, cut, or too late.
    None,
}

/// What the clients saw, by phase.
#[derive(Debug, Default)]
pub(super) struct Seen {
    phase: AtomicUsize,
    over: AtomicBool,
    figures: [Mutex<Figures>; PHASES.len()],
    /// When another process began to answer.
    changes: Mutex<Vec<Instant>>,
}

/// What the clients saw in one phase.
#[derive(Debug, Default, Clone)]
pub(super) struct Figures {
    requests: [Requests; KINDS.len()],
    streams: Streams,
}

#[derive(Debug, Default, Clone)]
struct Requests {
    right: u64,
    server_errors: u64,
    wrong: u64,
    unanswered: u64,
    /// Of those that were answered, in seconds.
    latencies: Samples,
    /// When these were due.
    due: Vec<Instant>,
}

impl Seen {
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        PHASES[self.phase.load(Ordering::Relaxed)]
    }

    /// Nothing is begun any more.
    pub(super) fn finish(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Another process has just been seen to answer.
    pub(super) fn change(&self) {
        lock(&self.changes).push(Instant::now());
    }

    /// Counts a request that was due in `phase`, and has its answer now if it has one.
    pub(super) fn request(&self, phase: Phase, kind: Kind, answer: Answer, due: Instant) {
        let requests = &mut self.lock(phase).requests[kind as usize];
        match answer {
            Answer::Right => requests.right += 1,
            Answer::ServerError => requests.server_errors += 1,
            Answer::Wrong => requests.wrong += 1,
            Answer::None => requests.unanswered += 1,
        }
        if answer != Answer::None {
            requests.latencies.add(seconds(due.elapsed()));
            requests.due.push(due);
        }
    }

    /// Counts a stream that has ended just now.
    pub(super) fn stream(&self, seen: Streams) {
        self.lock(self.phase()).streams.add(seen);
    }

    pub(super) fn figures(&self, phase: Phase) -> Figures {
        self.lock(phase).clone()
    }

    /// How long the requests took that were due less than `near` before or after a change.
    pub(super) fn around_changes(&self, near: Duration) -> Samples {
        let changes = lock(&self.changes);
        let is_near = |due: &Instant| {
            changes.iter().any(|change| {
                let before = change.saturating_duration_since(*due);
                before.max(due.saturating_duration_since(*change)) < near
            })
        };
        let mut around = Samples::default();
        for kind in &self.lock(Phase::Replacing).requests {
            let answered = kind.due.iter().zip(kind.latencies.values());
            answered.filter(|(due, _)| is_near(due)).for_each(|(_, latency)| around.add(latency));
        }
        around
    }

    fn lock(&self, phase: Phase) -> MutexGuard<'_, Figures> {
        lock(&self.figures[phase as usize])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Figures {
    pub(super) fn requests_lost(&self) -> u64 {
        self.requests.iter().map(|kind| kind.server_errors + kind.wrong + kind.unanswered).sum()
    }

    pub(super) fn streams_lost(&self) -> u64 {
        self.streams.lost()
    }

    /// Over all requests that were answered.
    pub(super) fn percentile(&self, part: f64) -> f64 {
        let mut all = Samples::default();
        self.requests.iter().for_each(|kind| all.extend(&kind.latencies));
        all.percentile(part)
    }

    pub(super) fn print(&self, title: &str) {
        println!("{title}");
        println!(
            "  {:<14} {:>8} {:>9} {:>5} {:>6}   {:>9} {:>9} {:>9}",
            "", "requests", "no answer", "5xx", "wrong", "p50", "p99", "longest"
        );
        for (kind, name) in KINDS {
            let Requests { right, server_errors, wrong, unanswered, latencies, .. } =
                &self.requests[kind as usize];
            let [p50, p99, longest] =
                [0.5, 0.99, 1.0].map(|part| shown(latencies.clone().percentile(part)));
            println!(
                "  {name:<14} {:>8} {unanswered:>9} {server_errors:>5} {wrong:>6}   {p50:>9} {p99:>9} {longest:>9}",
                right + server_errors + wrong + unanswered
            );
        }
        let Streams { whole, cut, refused, tokens, missing, doubled } = self.streams;
        println!(
            "  {whole} streams whole, {cut} cut, {refused} not begun; \
             {tokens} tokens, {missing} missing, {doubled} doubled\n"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_whatever_is_not_right() {
        let seen = Seen::default();
        seen.enter(Phase::Replacing);
        let answers = [Answer::Right, Answer::None, Answer::Wrong, Answer::ServerError];
        for answer in answers {
            seen.request(Phase::Replacing, Kind::Hive, answer, Instant::now());
        }
        seen.stream(Streams { whole: 1, tokens: 9, ..Streams::default() });
        seen.stream(Streams { cut: 1, tokens: 3, ..Streams::default() });
        seen.stream(Streams { whole: 1, missing: 2, doubled: 1, ..Streams::default() });
        let figures = seen.figures(Phase::Replacing);
        assert_eq!((figures.requests_lost(), figures.streams_lost()), (3, 4));
        assert_eq!(seen.figures(Phase::Undisturbed).requests_lost(), 0);
    }

    #[test]
    fn what_a_change_costs_is_looked_for_around_it() {
        let seen = Seen::default();
        let due = Instant::now();
        seen.request(Phase::Replacing, Kind::Queen, Answer::Right, due);
        assert_eq!(seen.around_changes(Duration::MAX).len(), 0);
        seen.change();
        assert_eq!(seen.around_changes(Duration::MAX).len(), 1);
        assert_eq!(seen.around_changes(Duration::ZERO).len(), 0);
    }
}
