use std::time::Duration;

use super::form::Form;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids of the prompt; never empty, each below the vocabulary's size.
    pub prompt: Vec<i32>,
    /// What there is of the answer already, as tokens: the engine goes on behind it, and says nothing
    /// of it but that it counts.
    pub begun: Vec<i32>,
    /// Tokens of the answer at most; the context's end is another limit.
    pub max_tokens: u32,
    pub sampling: Sampling,
    /// Text that ends the answer and is not part of it.
    pub stop: Vec<String>,
    /// How many alternatives each token is reported with; `None` reports no probabilities.
    pub logprobs: Option<usize>,
    /// Starts from the part of the prompt that an earlier request left decoded. Where a batch is
    /// cut changes its floating-point sums, so without this two equal requests agree more closely.
    pub reuse_cache: bool,
    /// Control tokens that are written into the text; others are not.
    pub shown: Vec<i32>,
}

/// How the next token is chosen.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// 0 takes the most probable token.
    pub temperature: f32,
    /// 0 keeps every token.
    pub top_k: i32,
    pub top_p: f32,
    pub min_p: f32,
    pub seed: u32,
    /// 1 penalises nothing.
    pub repeat_penalty: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// What is added to the logits of tokens.
    pub logit_bias: Vec<(i32, f32)>,
    /// What the answer must match.
    pub form: Option<Form>,
    /// For what of the answer it must.
    pub holds: Holds,
}

/// For what of an answer its form holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Holds {
    /// All of it.
    #[default]
    Throughout,
    /// What comes behind thoughts, which end with `close`. The prompt has `opened` them, or the answer
    /// may begin with the token that does.
    AfterThoughts { open: Option<i32>, close: &'static str, opened: bool },
    /// A JSON value behind each `opener`, should one come.
    InCalls { opener: &'static str },
}

impl Default for Sampling {
    /// llama.cpp's own defaults: small models ramble without the cuts.
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            seed: 0,
            repeat_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            form: None,
            holds: Holds::default(),
        }
    }
}

/// What the engine says of a request. [`Event::End`] or [`Event::Failed`] comes once, last.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Text of one token, or of several where some were held back; never part of a character.
    Text {
        text: String,
        logprobs: Vec<TokenLogprob>,
    },
    End(Finish),
    /// The engine could not go on with this request.
    Failed(String),
}

/// A token with its logarithmic probability, before any sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    pub id: i32,
    pub logprob: f32,
    pub bytes: Vec<u8>,
    /// The most probable tokens, falling.
    pub top: Vec<Self>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    pub reason: FinishReason,
    /// The stop string that came.
    pub stop: Option<String>,
    pub usage: Usage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn, or a stop string came.
    Stop,
    /// `max_tokens` or the context was used up.
    Length,
}

/// What a request took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    pub prompt_tokens: u32,
    /// Of the prompt's tokens, those that were still in the cache.
    pub cached_tokens: u32,
    pub completion_tokens: u32,
    /// Of these, those that there were already.
    pub begun_tokens: u32,
    /// Tokens that were guessed and that the model was shown, and those of them that it chose.
    pub drafted_tokens: u32,
    pub accepted_tokens: u32,
    /// From the moment that the request had a place until its first token.
    pub prompt_time: Duration,
    /// From the first token to the last.
    pub completion_time: Duration,
}
