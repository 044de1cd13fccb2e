//! What an answer must match, token by token.
//!
//! Schemas and regular expressions are llguidance's affair, which knows all of JSON Schema's usual words
//! and bounds its own work; grammars in GBNF are llama.cpp's, whose notation that is.

use std::time::Duration;

use cpu_time::ThreadTime;
use llama_cpp_2::{
    sampling::LlamaSampler,
    token::{LlamaToken, data::LlamaTokenData, data_array::LlamaTokenDataArray},
};
use llguidance::{Matcher, api::TopLevelGrammar};

use crate::model::Model;

/// Tokens that a grammar in GBNF looks at in one go, which is not interrupted.
const GRAMMAR_PART: usize = 256;
/// How long such a grammar may look for the next token. A usual one takes some hundredth of that, and all
/// other requests wait meanwhile.
const GRAMMAR_STEP_MAX: Duration = Duration::from_secs(2);
/// The root rule of a grammar in GBNF.
const ROOT: &str = "root";

/// What an answer must match.
#[derive(Debug, Clone)]
pub enum Form {
    /// A grammar in llama.cpp's notation, beginning at the rule `root`.
    Gbnf(String),
    /// A schema, a regular expression, or a grammar in its own notation.
    Guided(Box<TopLevelGrammar>),
}

/// Why there is no next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToken {
    /// None that the form allows.
    Fits,
    /// The form is too much work.
    ComesInTime,
    /// Its client has gone.
    IsWanted,
}

/// Goes along with an answer, and knows which tokens its form allows next.
pub(super) enum Follower {
    Gbnf(LlamaSampler),
    Guided(Box<Matcher>),
}

impl Follower {
    /// Fails with the reason where the form is none.
    pub(super) fn new(model: &Model, form: &Form) -> Result<Self, String> {
        let grammar = match form {
            Form::Gbnf(text) => {
                let sampler = LlamaSampler::grammar(&model.llama, text, ROOT)
                    .map_err(|_refused| "it is not one that llama.cpp understands".to_owned())?;
                return Ok(Self::Gbnf(sampler));
            }
            Form::Guided(grammar) => TopLevelGrammar::clone(grammar),
        };
        let parser = model.guidance()?.create_parser(grammar);
        let mut matcher = Matcher::new(parser);
        // What is too much to begin with is told at once.
        matcher.compute_mask_or_eos().map_err(|error| format!("{error:#}"))?;
        Ok(Self::Guided(Box::new(matcher)))
    }

    /// Whether `token` may be the next one.
    pub(super) fn allows(&mut self, model: &Model, token: LlamaToken) -> bool {
        match self {
            Self::Gbnf(grammar) => {
                let single = vec![LlamaTokenData::new(token, 1.0, 0.0)];
                let mut single = LlamaTokenDataArray::new(single, false);
                grammar.apply(&mut single);
                single.data.first().is_some_and(|data| data.logit().is_finite())
            }
            // Behind its end there is nothing but the answer's.
            Self::Guided(matcher) if matcher.is_stopped() => model.eog.contains(&token.0),
            Self::Guided(matcher) => {
                matcher.validate_tokens(&[token.0.cast_unsigned()]).is_ok_and(|valid| valid == 1)
            }
        }
    }

    /// Makes impossible what is not allowed, while `is_wanted` says so.
    pub(super) fn constrain(
        &mut self,
        candidates: &mut [LlamaTokenData],
        is_wanted: impl Fn() -> bool,
    ) -> Result<(), NoToken> {
        match self {
            Self::Gbnf(grammar) => constrain_in_parts(grammar, candidates, is_wanted),
            Self::Guided(matcher) => {
                let mask =
                    matcher.compute_mask_or_eos().map_err(|_too_complex| NoToken::ComesInTime)?;
                for candidate in candidates {
                    if !mask.is_allowed(candidate.id().0.cast_unsigned()) {
                        candidate.set_logit(f32::NEG_INFINITY);
                    }
                }
                Ok(())
            }
        }
    }

    /// Goes on behind `token`.
    pub(super) fn accept(&mut self, model: &Model, token: LlamaToken) -> Result<(), NoToken> {
        match self {
            // Unlike `accept` this reports a token that the grammar does not take, which llama.cpp throws
            // as an exception.
            Self::Gbnf(grammar) => grammar.try_accept(token).map_err(|_refused| NoToken::Fits),
            // Whether the answer may end here is asked before.
            Self::Guided(_) if model.eog.contains(&token.0) => Ok(()),
            Self::Guided(matcher) => {
                matcher.consume_token(token.0.cast_unsigned()).map_err(|_refused| NoToken::Fits)
            }
        }
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Gbnf(grammar) => grammar.reset(),
            // What cannot be is told by the next token.
            Self::Guided(matcher) => drop(matcher.reset()),
        }
    }
}

/// llama.cpp looks at all that it is given at once, which with a grammar of many alternatives takes
/// minutes for a whole vocabulary; what it says of one token does not depend on the others.
fn constrain_in_parts(
    grammar: &mut LlamaSampler,
    candidates: &mut [LlamaTokenData],
    is_wanted: impl Fn() -> bool,
) -> Result<(), NoToken> {
    // Of this thread's own work: a machine that is busy with other things is no fault of the grammar.
    let began = ThreadTime::now();
    for part in candidates.chunks_mut(GRAMMAR_PART) {
        if !is_wanted() {
            return Err(NoToken::IsWanted);
        }
        if began.elapsed() > GRAMMAR_STEP_MAX {
            return Err(NoToken::ComesInTime);
        }
        let mut looked_at = LlamaTokenDataArray::new(part.to_vec(), false);
        grammar.apply(&mut looked_at);
        part.copy_from_slice(&looked_at.data);
    }
    Ok(())
}
