//! Choosing tokens, by llama.cpp's samplers.

use llama_cpp_2::{
    context::LlamaContext,
    sampling::LlamaSampler,
    token::{LlamaToken, data::LlamaTokenData, logit_bias::LlamaLogitBias},
};

use super::{
    form::{Follower, NoToken},
    gate::{Gate, Passed},
    request::{Sampling, TokenLogprob},
};
use crate::model::Model;

/// Tokens that the repetition penalties look back on.
const PENALTY_WINDOW: i32 = 64;

/// What chooses the tokens of one request.
pub(super) struct Sampler {
    pub(super) chain: LlamaSampler,
    held: Option<Held>,
}

/// What an answer must match, and when.
struct Held {
    follower: Follower,
    gate: Gate,
    piece: Vec<u8>,
}

impl Sampler {
    /// Fails with the reason where the answer's form is none.
    pub(super) fn new(model: &Model, sampling: &Sampling) -> Result<Self, String> {
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
        let held = match &sampling.form {
            Some(form) => Some(Held {
                follower: Follower::new(model, form)?,
                gate: Gate::new(sampling.holds),
                piece: Vec::new(),
            }),
            None => None,
        };
        Ok(Self { chain: LlamaSampler::chain(chain, true), held })
    }

    /// Goes on behind tokens that were chosen elsewhere.
    pub(super) fn pass(&mut self, model: &Model, tokens: &[i32]) -> Result<(), NoToken> {
        let Some(Held { follower, gate, piece }) = &mut self.held else {
            return Ok(());
        };
        for &token in tokens {
            let token = LlamaToken::new(token);
            piece.clear();
            model.piece(token, true, piece);
            if gate.holds() && !gate.admits(token.0, piece) {
                follower.accept(model, token)?;
            }
            if gate.push(token.0, piece) == Passed::Out {
                follower.reset();
            }
        }
        Ok(())
    }

    /// The next token after output `index` of the last batch. Looking for it is broken off when nobody
    /// wants the answer any more, or when it takes too long.
    pub(super) fn sample(
        &mut self,
        model: &Model,
        context: &LlamaContext<'_>,
        index: i32,
        is_wanted: impl Fn() -> bool,
    ) -> Result<LlamaToken, NoToken> {
        let Some(Held { follower, gate, piece }) = &mut self.held else {
            return Ok(self.chain.sample(context, index));
        };
        if gate.is_missed() {
            return Err(NoToken::Fits);
        }
        let token = if gate.holds() {
            choose(&mut self.chain, model, follower, gate, context, index, is_wanted)?
        } else {
            self.chain.sample(context, index)
        };
        piece.clear();
        model.piece(token, true, piece);
        if gate.push(token.0, piece) == Passed::Out {
            follower.reset();
        }
        Ok(token)
    }
}

/// The next token, which the form allows or the gate admits.
fn choose(
    chain: &mut LlamaSampler,
    model: &Model,
    follower: &mut Follower,
    gate: &Gate,
    context: &LlamaContext<'_>,
    index: i32,
    is_wanted: impl Fn() -> bool,
) -> Result<LlamaToken, NoToken> {
    // One token is looked at where that does, and not the whole vocabulary.
    let mut candidates = context.token_data_array_ith(index);
    chain.apply(&mut candidates);
    let mut token = candidates.selected_token().ok_or(NoToken::Fits)?;
    let mut piece = Vec::new();
    model.piece(token, true, &mut piece);
    if gate.admits(token.0, &piece) {
        chain.accept(token);
        return Ok(token);
    }
    if !follower.allows(model, token) {
        let mut candidates = context.token_data_array_ith(index);
        follower.constrain(&mut candidates.data, is_wanted)?;
        chain.apply(&mut candidates);
        token = candidates.selected_token().ok_or(NoToken::Fits)?;
        if !follower.allows(model, token) {
            return Err(NoToken::Fits);
        }
    }
    follower.accept(model, token)?;
    chain.accept(token);
    Ok(token)
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
