//! What is decoded next.

use std::time::Duration;

/// Tokens of prompts in one batch at most; also what the context is made for.
pub(super) const BATCH_LEN: usize = 512;
/// Fewer would not use the processor well.
const CHUNK_MIN: usize = 16;
/// How long a piece of prompt may hold up requests that are generating.
const SHARED_STEP: Duration = Duration::from_millis(60);
/// How long a new request may have to wait otherwise, for a prompt alone; a cancelled one is broken
/// off within its batch.
const LONE_STEP: Duration = Duration::from_secs(2);

/// Chooses how many prompt tokens go into a batch, from how fast they were decoded so far.
#[derive(Debug)]
pub(super) struct Pace {
    tokens_per_second: f64,
}

impl Default for Pace {
    /// A cautious guess, corrected by the first prompt.
    fn default() -> Self {
        Self { tokens_per_second: 256.0 }
    }
}

impl Pace {
    /// Prompt tokens for a batch in which `generating` other sequences wait for their next token.
    pub(super) fn chunk(&self, generating: usize) -> usize {
        let step = if generating > 0 { SHARED_STEP } else { LONE_STEP };
        let tokens = self.tokens_per_second * step.as_secs_f64();
        // Positive and small: the cast is exact.
        (tokens.round() as usize).clamp(CHUNK_MIN, BATCH_LEN)
    }

    /// Learns from a batch of `tokens` that took `took`.
    pub(super) fn record(&mut self, tokens: usize, took: Duration) {
        // A small batch is bound by reading the weights and says little about prompts.
        if tokens < CHUNK_MIN || took.is_zero() {
            return;
        }
        let measured = tokens as f64 / took.as_secs_f64();
        self.tokens_per_second = self.tokens_per_second.mul_add(0.7, measured * 0.3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_as_long_as_a_step_takes() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            pace.record(100, Duration::from_millis(500));
        }
        assert_eq!((pace.chunk(0), pace.chunk(3)), (400, CHUNK_MIN));
        for _ in 0..50 {
            pace.record(100, Duration::from_millis(100));
        }
        assert_eq!((pace.chunk(0), pace.chunk(1)), (BATCH_LEN, 60));
    }

    #[test]
    fn a_chunk_stays_within_its_bounds() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            pace.record(16, Duration::from_secs(16));
        }
        assert_eq!((pace.chunk(0), pace.chunk(3)), (CHUNK_MIN, CHUNK_MIN));
        for _ in 0..50 {
            pace.record(512, Duration::from_millis(1));
        }
        assert_eq!((pace.chunk(0), pace.chunk(3)), (BATCH_LEN, BATCH_LEN));
    }

    #[test]
    fn single_tokens_do_not_count_as_prompts() {
        let mut pace = Pace::default();
        let before = pace.chunk(0);
        pace.record(4, Duration::from_millis(40));
        assert_eq!(pace.chunk(0), before);
    }
}
