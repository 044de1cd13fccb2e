//! What a sequence is likely to say next, from its own tokens: where the last few of them came before,
//! what followed them there.
//!
//! A guess costs nothing. Having the model look at guessed tokens beside the next one does, so how
//! many it is shown goes by how often the guesses were right: see [`super::worth`]. Whatever is guessed,
//! each token is chosen by the request's own sampler from the logits behind those before it.

use std::collections::HashMap;

use llama_cpp_2::token::LlamaToken;

/// How many tokens must have come before in this order.
const NGRAM: usize = 3;
/// How much one guess says of the following ones.
const RATE: f64 = 0.2;

/// Guesses for one sequence.
#[derive(Debug, Default)]
pub(super) struct Drafter {
    /// What came last behind each run of tokens.
    followers: HashMap<[LlamaToken; NGRAM], usize>,
    /// Tokens of which the followers are known.
    known: usize,
    /// How likely a guess is to be right, by those before.
    trust: f64,
}

impl Drafter {
    pub(super) fn trust(&self) -> f64 {
        self.trust
    }

    /// What is likely to come behind `tokens`, up to so many; nothing where they end as never before.
    ///
    /// The tokens are those of the last call, and more.
    pub(super) fn guess(&mut self, tokens: &[LlamaToken], most: usize) -> Vec<LlamaToken> {
        for at in self.known.max(NGRAM)..tokens.len() {
            self.followers.insert(run(&tokens[..at]), at);
        }
        self.known = tokens.len();
        if tokens.len() < NGRAM {
            return Vec::new();
        }
        let Some(&from) = self.followers.get(&run(tokens)) else { return Vec::new() };
        let mut guessed: Vec<LlamaToken> = Vec::with_capacity(most);
        for at in from..from + most {
            // What repeats itself goes on as it has been guessed to.
            let next = tokens.get(at).or_else(|| guessed.get(at - tokens.len()));
            guessed.extend(next.copied());
        }
        guessed
    }

    /// Says whether a guessed token is the one that came.
    pub(super) fn learn(&mut self, was_right: bool) {
        self.trust += (f64::from(u8::from(was_right)) - self.trust) * RATE;
    }
}

/// The last tokens, of which there are enough.
fn run(tokens: &[LlamaToken]) -> [LlamaToken; NGRAM] {
    std::array::from_fn(|at| tokens[tokens.len() - NGRAM + at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ids: &[i32]) -> Vec<LlamaToken> {
        ids.iter().copied().map(LlamaToken::new).collect()
    }

    #[test]
    fn what_followed_the_last_tokens_before_is_guessed() {
        let mut drafter = Drafter::default();
        let mut said = tokens(&[1, 2, 3, 4, 5, 6, 9, 1, 2]);
        assert_eq!(drafter.guess(&said, 4), []);
        said.push(LlamaToken::new(3));
        assert_eq!(drafter.guess(&said, 2), tokens(&[4, 5]));
        // The latest is taken of several.
        said.extend(tokens(&[7, 8, 1, 2, 3]));
        assert_eq!(drafter.guess(&said, 3), tokens(&[7, 8, 1]));
        assert_eq!(drafter.guess(&said, 0), []);
    }

    #[test]
    fn what_repeats_itself_is_guessed_to_go_on_so() {
        let mut drafter = Drafter::default();
        let said = tokens(&[1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(drafter.guess(&said, 7), tokens(&[2, 3, 1, 2, 3, 1, 2]));
        assert_eq!(Drafter::default().guess(&tokens(&[5, 5, 5, 5]), 3), tokens(&[5, 5, 5]));
    }

    #[test]
    fn too_little_to_compare_is_no_reason_to_guess() {
        for said in [&[][..], &[1], &[1, 1], &[1, 1, 1]] {
            assert_eq!(Drafter::default().guess(&tokens(said), 4), []);
        }
    }

    #[test]
    fn trust_comes_with_right_guesses_and_goes_with_wrong_ones() {
        let mut drafter = Drafter::default();
        assert_eq!(drafter.trust().to_bits(), 0.0_f64.to_bits());
        (0..20).for_each(|_| drafter.learn(true));
        assert!(drafter.trust() > 0.95, "{drafter:?}");
        (0..4).for_each(|_| drafter.learn(false));
        assert!(drafter.trust() < 0.5, "{drafter:?}");
    }
}
