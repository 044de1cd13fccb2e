//! How many threads compute while others want the processor.
//!
//! llama.cpp's threads wait for each other after every operation, and go round and round meanwhile.
//! Where others are as busy, some thread is always one that does not run, and all of them wait for it:
//! beside a build on two cores two threads give a tenth of what one gives. So fewer are tried there, and
//! those stay that take the least time.

use std::{num::NonZeroU32, time::Duration};

/// How much of the time of a batch the thread may have been kept from the processor where nobody else
/// is busy, and where others are.
const FREE: f64 = 0.05;
const CROWDED: f64 = 0.2;

/// What is measured together: so many batches that generate, or more that take less time than this.
const BATCHES: u32 = 3;
const WINDOW: Duration = Duration::from_millis(250);

/// Batches of more tokens are those of prompts, and are not compared.
const GENERATES: usize = 32;

/// Windows in a row without others before all threads compute again.
const FREE_WINDOWS: u32 = 4;

/// Windows after which the other numbers are tried again.
const FORGET: u32 = 60;

/// Learns from each batch how many threads the next ones are to have.
#[derive(Debug)]
pub(super) struct Share {
    /// All, half of them, a quarter, .. one.
    numbers: Vec<NonZeroU32>,
    at: usize,
    /// Seconds that a batch takes with each of them, since others have been busy.
    costs: Vec<Option<f64>>,
    window: Window,
    free: u32,
    windows: u32,
}

/// What a batch took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    pub(super) tokens: usize,
    pub(super) wall: Duration,
    /// Of the thread that decodes.
    pub(super) cpu: Duration,
}

#[derive(Debug, Default)]
struct Window {
    wall: Duration,
    cpu: Duration,
    /// Of those that generate.
    batches: u32,
    generating: Duration,
}

impl Share {
    pub(super) fn of(threads: NonZeroU32) -> Self {
        let half = |number: &NonZeroU32| NonZeroU32::new(number.get() / 2);
        let numbers: Vec<_> = std::iter::successors(Some(threads), half).collect();
        let costs = vec![None; numbers.len()];
        Self { numbers, at: 0, costs, window: Window::default(), free: 0, windows: 0 }
    }

    /// The number of threads for the next batches, where it changes.
    pub(super) fn next(&mut self, took: Took) -> Option<NonZeroU32> {
        let window = &mut self.window;
        window.wall += took.wall;
        window.cpu += took.cpu;
        if took.tokens <= GENERATES {
            window.batches += 1;
            window.generating += took.wall;
        }
        if window.wall < WINDOW || window.batches < BATCHES {
            return None;
        }
        let window = std::mem::take(window);
        let cost = window.generating.as_secs_f64() / f64::from(window.batches);
        let kept_out = 1.0 - window.cpu.as_secs_f64() / window.wall.as_secs_f64();
        let before = self.at;
        self.at = self.choose(kept_out, cost);
        (self.at != before).then(|| self.numbers[self.at])
    }

    fn choose(&mut self, kept_out: f64, cost: f64) -> usize {
        self.free = if kept_out < FREE { self.free + 1 } else { 0 };
        let is_over = if self.at == 0 { kept_out < CROWDED } else { self.free >= FREE_WINDOWS };
        if is_over {
            self.costs.fill(None);
            self.windows = 0;
            return 0;
        }
        self.windows += 1;
        if self.windows > FORGET {
            self.windows = 0;
            self.costs.fill(None);
        }
        self.costs[self.at] = Some(cost);
        let beside = [self.at + 1, self.at.wrapping_sub(1)];
        let unknown = beside.into_iter().find(|at| self.costs.get(*at) == Some(&None));
        unknown.unwrap_or_else(|| {
            let known = self.costs.iter().enumerate();
            let known = known.filter_map(|(at, cost)| Some((at, (*cost)?)));
            known.min_by(|one, other| one.1.total_cmp(&other.1)).map_or(self.at, |(at, _)| at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of a machine on which a batch takes so many milliseconds with so many threads, and the
    /// part of it that the thread is kept out.
    fn run(share: &mut Share, windows: u32, kept_out: f64, cost: impl Fn(u32) -> u64) -> u32 {
        for _ in 0..windows {
            let before = share.windows;
            let free = share.free;
            let mut steps = 0;
            while share.windows == before && share.free == free && steps < 500 {
                let threads = share.numbers[share.at].get();
                let wall = Duration::from_millis(cost(threads));
                share.next(Took { tokens: 1, wall, cpu: wall.mul_f64(1.0 - kept_out) });
                steps += 1;
            }
        }
        share.numbers[share.at].get()
    }

    fn of(threads: u32) -> Share {
        Share::of(NonZeroU32::new(threads).unwrap())
    }

    #[test]
    fn all_threads_compute_where_nobody_else_is_busy() {
        let mut share = of(8);
        assert_eq!(run(&mut share, 40, 0.01, |_| 10), 8);
    }

    #[test]
    fn beside_others_the_number_that_takes_the_least_time_is_found() {
        for (fastest, threads) in [(1, 8), (2, 8), (4, 8), (8, 8), (1, 2), (3, 6)] {
            let mut share = of(threads);
            let cost = |number: u32| 20 + 30 * u64::from(number.abs_diff(fastest));
            assert_eq!(run(&mut share, 20, 0.5, cost), fastest, "of {threads}");
        }
    }

    #[test]
    fn all_threads_compute_again_once_the_others_have_ended() {
        let mut share = of(2);
        assert_eq!(run(&mut share, 20, 0.5, |number| u64::from(number) * 30), 1);
        assert_eq!(run(&mut share, 2, 0.0, |_| 10), 1);
        assert_eq!(run(&mut share, 10, 0.0, |_| 10), 2);
    }

    #[test]
    fn what_was_the_slower_is_tried_again_after_a_while() {
        let mut share = of(2);
        assert_eq!(run(&mut share, 20, 0.5, |number| u64::from(number) * 30), 1);
        assert_eq!(run(&mut share, 2 * FORGET, 0.5, |number| 90 / u64::from(number)), 2);
    }

    #[test]
    fn prompts_say_nothing_of_the_time_of_a_batch() {
        let mut share = of(2);
        let long = Duration::from_secs(1);
        for _ in 0..20 {
            assert_eq!(share.next(Took { tokens: 512, wall: long, cpu: long / 2 }), None);
        }
    }
}
