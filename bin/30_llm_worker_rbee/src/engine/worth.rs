//! How many guessed tokens a batch is worth.

use std::time::Duration;

use super::BatchCost;

/// Guessed tokens of one sequence in a batch at most.
pub(super) const DRAFT_MAX: usize = 16;
/// Of all sequences.
const DRAFTS_MAX: usize = 64;
/// How much of what is known stays with every batch.
const KEPT: f64 = 0.98;
/// What a token adds to a batch, as a part of what a batch of one takes, until that is measured.
const EACH_AT_FIRST: f64 = 0.3;
/// A batch that takes so many times as long as expected was held up by something else.
const HELD_UP: f64 = 3.0;
/// Sizes that differ by less say nothing of what a token adds.
const SPREAD_MIN: f64 = 0.1;
/// By how much a guess must be worth more than it costs, since both are estimates.
const MARGIN: f64 = 1.1;

/// Learns what batches of generated tokens take, by their number of tokens: something for each batch, and
/// something for each token.
///
/// The sums of a line's least squares, of which the latest batches count for most.
#[derive(Debug, Default)]
pub(super) struct Worth {
    /// Where it need not be learned.
    given: Option<Cost>,
    batches: f64,
    tokens: f64,
    squares: f64,
    took: f64,
    products: f64,
}

/// What a batch takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    batch: f64,
    each: f64,
}

impl Cost {
    fn of(self, tokens: f64) -> f64 {
        self.each.mul_add(tokens, self.batch)
    }
}

impl Worth {
    /// What is to be learned, unless it is given.
    pub(super) fn new(given: Option<BatchCost>) -> Self {
        let given = given
            .map(|cost| Cost { batch: cost.batch.as_secs_f64(), each: cost.token.as_secs_f64() });
        Self { given, ..Self::default() }
    }

    /// Learns from a batch whose tokens were all to be followed by others.
    pub(super) fn record(&mut self, tokens: usize, took: Duration) {
        let (tokens, mut took) = (tokens as f64, took.as_secs_f64());
        if let Some(cost) = self.cost() {
            took = took.min(cost.of(tokens) * HELD_UP);
        }
        let add = |sum: &mut f64, one: f64| *sum = sum.mul_add(KEPT, one);
        add(&mut self.batches, 1.0);
        add(&mut self.tokens, tokens);
        add(&mut self.squares, tokens * tokens);
        add(&mut self.took, took);
        add(&mut self.products, tokens * took);
    }

    fn cost(&self) -> Option<Cost> {
        if self.given.is_some() || self.batches == 0.0 {
            return self.given;
        }
        let (tokens, took) = (self.tokens / self.batches, self.took / self.batches);
        let spread = (-tokens).mul_add(tokens, self.squares / self.batches);
        let each = if spread < SPREAD_MIN {
            took * EACH_AT_FIRST / tokens
        } else {
            (-tokens).mul_add(took, self.products / self.batches) / spread
        };
        let each = each.clamp(0.0, took / tokens);
        Some(Cost { batch: each.mul_add(-tokens, took), each })
    }

    /// How many tokens to guess for each of those that generate, by how far its guesses are trusted: as
    /// long as the next one adds more to what is likely to come of the batch than to what it takes.
    pub(super) fn drafts(&self, trusts: &[f64]) -> Vec<usize> {
        let mut drafts = vec![0; trusts.len()];
        let Some(cost) = self.cost() else { return drafts };
        let (mut tokens, mut expected) = (trusts.len() as f64, trusts.len() as f64);
        let mut left = DRAFTS_MAX;
        for (draft, &trust) in drafts.iter_mut().zip(trusts) {
            let mut likely = trust;
            while *draft < DRAFT_MAX
                && left > 0
                && likely * cost.of(tokens) > cost.each * expected * MARGIN
            {
                *draft += 1;
                left -= 1;
                tokens += 1.0;
                expected += likely;
                likely *= trust;
            }
        }
        drafts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known of a machine where a batch takes so many milliseconds, and each token so many more.
    fn machine(batch: f64, each: f64, sizes: &[usize]) -> Worth {
        let mut worth = Worth::default();
        for &size in sizes.iter().cycle().take(200) {
            let took = each.mul_add(size as f64, batch);
            worth.record(size, Duration::from_secs_f64(took / 1e3));
        }
        worth
    }

    #[test]
    fn nothing_is_guessed_before_anything_is_known() {
        assert_eq!(Worth::default().drafts(&[1.0]), [0]);
        assert_eq!(machine(7.0, 3.0, &[1, 5]).drafts(&[0.0]), [0]);
        assert!(machine(7.0, 3.0, &[1, 5]).drafts(&[]).is_empty());
    }

    #[test]
    fn more_is_guessed_the_better_the_guesses_are() {
        let worth = machine(7.0, 3.0, &[1, 5]);
        let drafts = [0.2, 0.5, 0.8, 0.9, 0.99].map(|trust| worth.drafts(&[trust])[0]);
        assert!(drafts.is_sorted() && drafts[0] == 0 && drafts[4] > 8, "{drafts:?}");
        assert_eq!(worth.drafts(&[1.0]), [DRAFT_MAX]);
    }

    #[test]
    fn a_batch_that_takes_as_long_as_its_tokens_alone_is_not_made_longer() {
        assert_eq!(machine(0.0, 4.0, &[1, 8]).drafts(&[0.99]), [0]);
        // So it is where many generate already.
        let many = machine(7.0, 4.0, &[8, 9]).drafts(&[0.9; 32]);
        assert_eq!(many, [0; 32]);
    }

    #[test]
    fn where_tokens_cost_next_to_nothing_even_bad_guesses_are_tried() {
        assert!(machine(9.0, 0.01, &[1, 5]).drafts(&[0.3])[0] > 1);
        let drafts = machine(9.0, 0.01, &[1, 5]).drafts(&[1.0; 64]);
        assert_eq!(drafts.iter().sum::<usize>(), DRAFTS_MAX);
    }

    #[test]
    fn what_is_given_is_not_learned() {
        let (batch, token) = (Duration::from_millis(7), Duration::from_millis(1));
        let mut worth = Worth::new(Some(BatchCost { batch, token }));
        let before = worth.drafts(&[0.9]);
        (0..50).for_each(|_| worth.record(4, Duration::from_millis(400)));
        assert!(before[0] > 4, "{before:?}");
        assert_eq!(worth.drafts(&[0.9]), before);
    }

    #[test]
    fn what_a_token_adds_is_assumed_until_it_is_known() {
        let cost = machine(10.0, 0.0, &[1]).cost().unwrap();
        assert!((cost.each - 3e-3).abs() < 1e-6 && (cost.of(1.0) - 1e-2).abs() < 1e-6, "{cost:?}");
        let cost = machine(7.0, 3.0, &[1, 4, 2]).cost().unwrap();
        assert!((cost.each - 3e-3).abs() < 1e-6 && (cost.batch - 7e-3).abs() < 1e-6, "{cost:?}");
    }

    #[test]
    fn a_batch_that_something_else_held_up_says_little() {
        let mut worth = machine(7.0, 3.0, &[1, 4, 2]);
        worth.record(1, Duration::from_secs(5));
        let cost = worth.cost().unwrap();
        assert!(cost.of(1.0) < 12e-3, "{cost:?}");
    }
}
