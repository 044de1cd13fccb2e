//! Choosing tokens, by llama.cpp's samplers.

use std::time::Duration;

use cpu_time::ThreadTime;
use llama_cpp_2::{
    GrammarError,
    context::LlamaContext,
    sampling::LlamaSampler,
    token::{
        LlamaToken, data::LlamaTokenData, data_array::LlamaTokenDataArray,
        logit_bias::LlamaLogitBias,
    },
};

use super::{
    gate::{Gate, Passed},
    request::{Sampling, TokenLogprob},
};
use crate::model::Model;

/// Tokens that the repetition penalties look back on.
const PENALTY_WINDOW: i32 = 64;
/// Tokens that a grammar looks at in one go, which is not interrupted.
const GRAMMAR_PART: usize = 256;
/// How long a grammar may look for the next token. A usual one takes some hundredth of that, and all
/// other requests wait meanwhile.
const GRAMMAR_STEP_MAX: Duration = Duration::from_secs(2);
/// The root rule of a grammar.
const ROOT: &str = "root";
/// What chooses the tokens of one request.
pub(super) struct Sampler {
    pub(super) chain: LlamaSampler,
    grammar: Option<Grammar>,
}

/// What an answer must match, and when.
struct Grammar {
    sampler: LlamaSampler,
    gate: Gate,
    piece: Vec<u8>,
}

impl Sampler {
    /// Fails when the grammar is not one.
    pub(super) fn new(model: &Model, sampling: &Sampling) -> Result<Self, GrammarError> {
        let vocabulary = i32::try_from(model.facts.vocabulary).unwrap_or(i32::MAX);
        let mut chain = Vec::new();
        if !sampling.logit_bias.is_empty() {
            let biases: Vec<_> = sampling
                .logit_bias
                .iter()
                .map(|&(token, bias)| LlamaLogitBias::new(LlamaToken::new(token), bias))
                .collect();
            chain.push(LlamaSampler::logit_bias(vocabulary, &biases));
        }
        let Sampling { repeat_penalty, presence_penalty, frequency_penalty, .. } = *sampling;
        if (repeat_penalty, presence_penalty, frequency_penalty) != (1.0, 0.0, 0.0) {
            chain.push(LlamaSampler::penalties(
                vocabulary,
                PENALTY_WINDOW,
                repeat_penalty,
                frequency_penalty,
                presence_penalty,
            ));
        }
        if sampling.temperature <= 0.0 {
            chain.push(LlamaSampler::greedy());
        } else {
            if sampling.top_k > 0 {
                chain.push(LlamaSampler::top_k(sampling.top_k));
            }
            if sampling.top_p < 1.0 {
                chain.push(LlamaSampler::top_p(sampling.top_p, 1));
            }
            if sampling.min_p > 0.0 {
                chain.push(LlamaSampler::min_p(sampling.min_p, 1));
            }
            chain.push(LlamaSampler::temp(sampling.temperature));
            chain.push(LlamaSampler::dist(sampling.seed));
        }
        let grammar = match &sampling.grammar {
            Some(text) => Some(Grammar {
                sampler: LlamaSampler::grammar(&model.llama, text, ROOT)?,
                gate: Gate::new(sampling.holds),
                piece: Vec::new(),
            }),
            None => None,
        };
        Ok(Self { chain: LlamaSampler::chain(chain, true), grammar })
    }

    /// Goes on behind tokens that were chosen elsewhere.
    pub(super) fn pass(&mut self, model: &Model, tokens: &[i32]) -> Result<(), NoToken> {
        let Some(Grammar { sampler: grammar, gate, piece }) = &mut self.grammar else {
            return Ok(());
        };
        for &token in tokens {
            let token = LlamaToken::new(token);
            piece.clear();
            model.piece(token, true, piece);
            if gate.holds() && !gate.admits(token.0, piece) {
                grammar.try_accept(token).map_err(|_refused| NoToken::Fits)?;
            }
            if gate.push(token.0, piece) == Passed::Out {
                grammar.reset();
            }
        }
        Ok(())
    }

    /// The next token after output `index` of the last batch. A grammar is broken off when nobody
    /// wants its answer any more, or when it takes too long.
    pub(super) fn sample(
        &mut self,
        model: &Model,
        context: &LlamaContext<'_>,
        index: i32,
        is_wanted: impl Fn() -> bool,
    ) -> Result<LlamaToken, NoToken> {
        let Some(Grammar { sampler: grammar, gate, piece }) = &mut self.grammar else {
            return Ok(self.chain.sample(context, index));
        };
        if gate.is_missed() {
            return Err(NoToken::Fits);
        }
        let token = if gate.holds() {
            choose(&mut self.chain, model, grammar, gate, context, index, is_wanted)?
        } else {
            self.chain.sample(context, index)
        };
        piece.clear();
        model.piece(token, true, piece);
        if gate.push(token.0, piece) == Passed::Out {
            grammar.reset();
        }
        Ok(token)
    }
}

/// The next token, which the grammar allows or the gate admits.
fn choose(
    chain: &mut LlamaSampler,
    model: &Model,
    grammar: &mut LlamaSampler,
    gate: &Gate,
    context: &LlamaContext<'_>,
    index: i32,
    is_wanted: impl Fn() -> bool,
) -> Result<LlamaToken, NoToken> {
    // The grammar looks at one token where that does, and not at the whole vocabulary.
    let mut candidates = context.token_data_array_ith(index);
    chain.apply(&mut candidates);
    let mut token = candidates.selected_token().ok_or(NoToken::Fits)?;
    let mut piece = Vec::new();
    model.piece(token, true, &mut piece);
    if gate.admits(token.0, &piece) {
        chain.accept(token);
        return Ok(token);
    }
    if !allows(grammar, token) {
        let mut candidates = context.token_data_array_ith(index);
        // Of this thread's own work: a machine that is busy with other things is no fault of the grammar.
        let began = ThreadTime::now();
        constrain(grammar, &mut candidates.data, || match began.elapsed() {
            _ if !is_wanted() => Err(NoToken::IsWanted),
            took if took > GRAMMAR_STEP_MAX => Err(NoToken::ComesInTime),
            _ => Ok(()),
        })?;
        chain.apply(&mut candidates);
        token = candidates.selected_token().ok_or(NoToken::Fits)?;
        if !allows(grammar, token) {
            return Err(NoToken::Fits);
        }
    }
    // Unlike `accept` this reports a token that the grammar does not take, which llama.cpp throws as
    // an exception.
    grammar.try_accept(token).map_err(|_refused| NoToken::Fits)?;
    chain.accept(token);
    Ok(token)
}

/// Why there is no next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoToken {
    /// None that the grammar allows.
    Fits,
    /// The grammar is too much work.
    ComesInTime,
    /// Its client has gone.
    IsWanted,
}

/// Makes impossible what the grammar does not allow, asking `go_on` before every part of it.
///
/// llama.cpp looks at all that it is given at once, which with a grammar of many alternatives takes
/// minutes for a whole vocabulary; what it says of one token does not depend on the others.
fn constrain(
    grammar: &mut LlamaSampler,
    candidates: &mut [LlamaTokenData],
    go_on: impl Fn() -> Result<(), NoToken>,
) -> Result<(), NoToken> {
    for part in candidates.chunks_mut(GRAMMAR_PART) {
        go_on()?;
        let mut looked_at = LlamaTokenDataArray::new(part.to_vec(), false);
        grammar.apply(&mut looked_at);
        part.copy_from_slice(&looked_at.data);
    }
    Ok(())
}

fn allows(grammar: &mut LlamaSampler, token: LlamaToken) -> bool {
    let mut single = LlamaTokenDataArray::new(vec![LlamaTokenData::new(token, 1.0, 0.0)], false);
    grammar.apply(&mut single);
    single.data.first().is_some_and(|data| data.logit().is_finite())
}

/// The probability of `token` after output `index`, and of the `top` most probable tokens.
pub(super) fn logprobs(
    model: &Model,
    context: &LlamaContext<'_>,
    index: i32,
    token: LlamaToken,
    top: usize,
) -> TokenLogprob {
    let describe = |data: &LlamaTokenData| {
        let mut bytes = Vec::new();
        model.piece(data.id(), true, &mut bytes);
        // The smallest positive number instead of an infinity, which JSON does not have.
        let logprob = data.p().max(f32::MIN_POSITIVE).ln();
        TokenLogprob { id: data.id().0, logprob, bytes, top: Vec::new() }
    };
    let mut all = context.token_data_array_ith(index);
    // This sampler gives every token its probability; what it draws is not used.
    all.apply_sampler(&mut LlamaSampler::dist(0));
    let chosen = usize::try_from(token.0).ok().and_then(|at| all.data.get(at)).map(describe);
    let mut chosen = chosen.unwrap_or(TokenLogprob {
        id: token.0,
        logprob: 0.0,
        bytes: Vec::new(),
        top: Vec::new(),
    });
    if top > 0 {
        all.apply_sampler(&mut LlamaSampler::top_k(i32::try_from(top).unwrap_or(i32::MAX)));
        chosen.top = all.data.iter().map(describe).collect();
    }
    chosen
}
