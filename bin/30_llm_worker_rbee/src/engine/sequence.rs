//! One request on its way.

use std::time::{Duration, Instant};

use llama_cpp_2::{context::LlamaContext, token::LlamaToken};

use tokio::sync::mpsc;

use super::{
    draft::Drafter,
    form::NoToken,
    job::Job,
    request::{Event, Finish, FinishReason, Request, TokenLogprob, Usage},
    sampler,
    text::TextStream,
};
use crate::model::Model;

/// Prompt tokens that the penalties see: no more than they look back on.
const PENALISED_PROMPT: usize = 64;

/// A request, from its arrival in the engine to its last event.
pub(super) struct Sequence {
    job: Job,
    /// The prompt and what was generated.
    pub(super) tokens: Vec<LlamaToken>,
    /// Order of arrival.
    pub(super) number: u64,
    /// Tokens to generate at most.
    limit: usize,
    text: TextStream,
    /// Probabilities of tokens whose text is held back.
    logprobs: Vec<TokenLogprob>,
    piece: Vec<u8>,
    generated: u32,
    cached: Option<u32>,
    drafter: Drafter,
    drafted: u32,
    accepted: u32,
    began: Instant,
    first_token: Option<Instant>,
}

/// Whether a sequence goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Continues,
    /// Its last event is sent, or its client has gone.
    Ended,
}

impl Sequence {
    pub(super) fn new(mut job: Job, number: u64, context: usize, model: &Model) -> Self {
        let Request { prompt, begun, .. } = &job.request;
        let tokens: Vec<_> = prompt.iter().chain(begun).copied().map(LlamaToken::new).collect();
        let recent = tokens.len().saturating_sub(PENALISED_PROMPT);
        job.sampler.chain.accept_many(&tokens[recent..]);
        let room = context.saturating_sub(prompt.len());
        let mut text = TextStream::new(std::mem::take(&mut job.request.stop));
        let mut piece = Vec::new();
        for &token in &tokens[job.request.prompt.len()..] {
            piece.clear();
            model.piece(token, job.request.shown.contains(&token.0), &mut piece);
            // Whoever has begun the answer has it.
            drop(text.push(&piece));
        }
        Self {
            limit: room.min(job.request.max_tokens as usize),
            text,
            tokens,
            number,
            logprobs: Vec::new(),
            piece,
            generated: u32::try_from(job.request.begun.len()).unwrap_or(u32::MAX),
            job,
            cached: None,
            drafter: Drafter::default(),
            drafted: 0,
            accepted: 0,
            began: Instant::now(),
            first_token: None,
        }
    }

    /// Whether nobody waits for the events any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.job.events.is_closed()
    }

    /// Where its events go.
    pub(super) fn events(&self) -> mpsc::Sender<Event> {
        self.job.events.clone()
    }

    /// Whether the cache may hold part of the prompt already.
    pub(super) fn reuses_cache(&self) -> bool {
        self.job.request.reuse_cache
    }

    /// Says that it has a slot, in which `cached` of its tokens are decoded already.
    pub(super) fn placed(&mut self, cached: usize) {
        if self.cached.is_none() {
            let cached = cached.min(self.job.request.prompt.len());
            self.cached = Some(u32::try_from(cached).unwrap_or(u32::MAX));
            self.began = Instant::now();
        }
    }

    /// Time since it had a slot for the first time.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// How far its guesses are to be trusted.
    pub(super) fn trust(&self) -> f64 {
        self.drafter.trust()
    }

    /// What it is likely to say next, up to so many tokens and to what the answer has room for.
    pub(super) fn guess(&mut self, most: usize) -> Vec<LlamaToken> {
        // The last token of an answer is not decoded.
        let room = self.limit.saturating_sub(self.generated as usize + 1);
        self.drafter.guess(&self.tokens, most.min(room))
    }

    /// Says of a guessed token whether the model was shown it, and whether it is the one that came.
    pub(super) fn guessed(&mut self, was_shown: bool, was_right: bool) {
        self.drafter.learn(was_right);
        self.accepted += u32::from(was_shown && was_right);
    }

    /// Says that the model is shown so many guessed tokens.
    pub(super) fn shown(&mut self, drafted: usize) {
        self.drafted = self.drafted.saturating_add(u32::try_from(drafted).unwrap_or(u32::MAX));
    }

    /// Chooses the token after output `index` of the batch just decoded, and sends its text.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        context: &LlamaContext<'_>,
        index: i32,
    ) -> Step {
        if self.generated as usize >= self.limit {
            return self.finish(FinishReason::Length);
        }
        let events = &self.job.events;
        let token = match self.job.sampler.sample(model, context, index, || !events.is_closed()) {
            Ok(token) => token,
            Err(NoToken::IsWanted) => return Step::Ended,
            Err(NoToken::Fits) => {
                return self.fail(
                    "no token of the model's vocabulary fits what the answer must look like"
                        .to_owned(),
                );
            }
            Err(NoToken::ComesInTime) => {
                return self.fail(
                    "what the answer must look like is too much work: it has too many alternatives"
                        .to_owned(),
                );
            }
        };
        self.generated += 1;
        self.first_token.get_or_insert_with(Instant::now);
        if model.llama.vocab().is_eog(token) {
            return self.finish(FinishReason::Stop);
        }
        if let Some(top) = self.job.request.logprobs {
            self.logprobs.push(sampler::logprobs(model, context, index, token, top));
        }
        self.piece.clear();
        model.piece(token, self.job.request.shown.contains(&token.0), &mut self.piece);
        let pushed = self.text.push(&self.piece);
        if !pushed.text.is_empty() && self.send(pushed.text) == Step::Ended {
            return Step::Ended;
        }
        if pushed.stopped.is_some() {
            self.logprobs.clear();
            return self.end(FinishReason::Stop, pushed.stopped);
        }
        if self.generated as usize >= self.limit {
            return self.finish(FinishReason::Length);
        }
        self.tokens.push(token);
        Step::Continues
    }

    /// Ends it because the engine cannot go on.
    pub(super) fn fail(&self, reason: String) -> Step {
        // A full channel is impossible, a closed one means that nobody waits.
        drop(self.job.events.try_send(Event::Failed(reason)));
        Step::Ended
    }

    /// Sends what was held back, and the end.
    fn finish(&mut self, reason: FinishReason) -> Step {
        let rest = self.text.finish();
        if (!rest.is_empty() || !self.logprobs.is_empty()) && self.send(rest) == Step::Ended {
            return Step::Ended;
        }
        self.end(reason, None)
    }

    fn end(&self, reason: FinishReason, stop: Option<String>) -> Step {
        let first = self.first_token.unwrap_or_else(Instant::now);
        let usage = Usage {
            prompt_tokens: u32::try_from(self.job.request.prompt.len()).unwrap_or(u32::MAX),
            cached_tokens: self.cached.unwrap_or(0),
            completion_tokens: self.generated,
            begun_tokens: u32::try_from(self.job.request.begun.len()).unwrap_or(u32::MAX),
            drafted_tokens: self.drafted,
            accepted_tokens: self.accepted,
            prompt_time: first - self.began,
            completion_time: first.elapsed(),
        };
        drop(self.job.events.try_send(Event::End(Finish { reason, stop, usage })));
        Step::Ended
    }

    fn send(&mut self, text: String) -> Step {
        let logprobs = std::mem::take(&mut self.logprobs);
        match self.job.events.try_send(Event::Text { text, logprobs }) {
            Ok(()) => Step::Continues,
            Err(_) => Step::Ended,
        }
    }
}
