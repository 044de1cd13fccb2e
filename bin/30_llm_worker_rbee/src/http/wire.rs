//! The JSON that is sent.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::{Finish, FinishReason, TokenLogprob, Usage};

/// Which of the two endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

/// One `data:` frame of a stream.
#[derive(Serialize)]
pub(super) struct Chunk<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) system_fingerprint: &'a str,
    pub(super) choices: &'a [Choice<'a>],
    /// Null in the chunks before it, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<TokenUsage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timings: Option<Timings>,
}

#[derive(Serialize)]
pub(super) struct Choice<'a> {
    pub(super) index: u32,
    #[serde(flatten)]
    pub(super) content: Content<'a>,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) finish_reason: Option<&'static str>,
    /// The stop string that came, as vLLM tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop_reason: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content<'a> {
    /// Of a chat's stream.
    Delta(Delta<'a>),
    /// Of a completion, streamed or not.
    Text(&'a str),
    /// Of a chat that is not streamed.
    Message(Message<'a>),
}

#[derive(Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
    /// What the model thinks before it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<[CallPart<'a>; 1]>,
}

/// A part of a call, in a stream. The first one has everything but the arguments.
#[derive(Serialize)]
pub(super) struct CallPart<'a> {
    pub(super) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    pub(super) function: FunctionPart<'a>,
}

#[derive(Serialize)]
pub(super) struct FunctionPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    pub(super) arguments: &'a str,
}

/// A call, whole.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) function: Function,
}

#[derive(Debug, Serialize)]
pub(super) struct Function {
    pub(super) name: String,
    /// JSON text.
    pub(super) arguments: String,
}

#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    /// None beside calls that come without text.
    pub(super) content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    pub(super) refusal: Option<()>,
    pub(super) annotations: [(); 0],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) tool_calls: &'a [Call],
}

/// `calls` says whether the answer has calls.
pub(super) fn finish_reason(finish: &Finish, calls: bool) -> &'static str {
    match finish.reason {
        FinishReason::Stop if calls => "tool_calls",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

#[derive(Serialize)]
pub(super) struct TokenUsage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptTokens,
}

#[derive(Serialize)]
struct PromptTokens {
    cached_tokens: u32,
}

/// As llama.cpp's server reports them.
#[derive(Serialize)]
pub(super) struct Timings {
    cache_n: u32,
    prompt_n: u32,
    prompt_ms: f64,
    prompt_per_second: f64,
    predicted_n: u32,
    predicted_ms: f64,
    predicted_per_second: f64,
    /// Tokens that were guessed, where any were.
    #[serde(skip_serializing_if = "is_zero")]
    draft_n: u32,
    #[serde(skip_serializing_if = "is_zero")]
    draft_n_accepted: u32,
}

const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Logprobs {
    Chat {
        content: Vec<ChatToken>,
        refusal: Option<()>,
    },
    Completion {
        tokens: Vec<String>,
        token_logprobs: Vec<f32>,
        top_logprobs: Vec<BTreeMap<String, f32>>,
        text_offset: Vec<usize>,
    },
}

#[derive(Serialize)]
pub(super) struct ChatToken {
    #[serde(flatten)]
    token: Alternative,
    top_logprobs: Vec<Alternative>,
}

#[derive(Serialize)]
struct Alternative {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// The answer to `GET /v1/models`.
#[derive(Serialize)]
pub(super) struct Models {
    pub(super) object: &'static str,
    pub(super) data: [ServedModel; 1],
}

#[derive(Serialize)]
pub(super) struct ServedModel {
    pub(super) id: String,
    pub(super) object: &'static str,
    /// When it was loaded, in seconds since 1970.
    pub(super) created: u64,
    pub(super) owned_by: &'static str,
    pub(super) meta: ModelMeta,
}

/// In llama.cpp's words.
#[derive(Serialize)]
pub(super) struct ModelMeta {
    pub(super) n_ctx: u32,
    pub(super) n_ctx_train: u32,
    pub(super) n_vocab: u32,
    pub(super) n_embd: u32,
    pub(super) n_params: u64,
    pub(super) size: u64,
    pub(super) parallel: u32,
    /// How vectors of texts are made, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pooling: Option<&'static str>,
}

pub(super) fn usage(usage: &Usage) -> TokenUsage {
    TokenUsage {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        total_tokens: usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details: PromptTokens { cached_tokens: usage.cached_tokens },
    }
}

/// The first token is the prompt's work, and so is what there was of the answer already.
pub(super) fn timings(usage: &Usage) -> Timings {
    let prompt = usage.prompt_tokens - usage.cached_tokens;
    let predicted = usage.completion_tokens.saturating_sub(usage.begun_tokens + 1);
    let (prompt_s, predicted_s) =
        (usage.prompt_time.as_secs_f64(), usage.completion_time.as_secs_f64());
    let rate =
        |count: u32, seconds: f64| if seconds > 0.0 { f64::from(count) / seconds } else { 0.0 };
    Timings {
        cache_n: usage.cached_tokens,
        prompt_n: prompt,
        prompt_ms: prompt_s * 1e3,
        prompt_per_second: rate(prompt, prompt_s),
        predicted_n: usage.completion_tokens,
        predicted_ms: predicted_s * 1e3,
        predicted_per_second: rate(predicted, predicted_s),
        draft_n: usage.drafted_tokens,
        draft_n_accepted: usage.accepted_tokens,
    }
}

/// `offset` is how many characters of the completion came before.
pub(super) fn logprobs(kind: Kind, tokens: &[TokenLogprob], offset: usize) -> Logprobs {
    let text = |token: &TokenLogprob| String::from_utf8_lossy(&token.bytes).into_owned();
    match kind {
        Kind::Chat => {
            let one = |token: &TokenLogprob| Alternative {
                token: text(token),
                logprob: token.logprob,
                bytes: token.bytes.clone(),
            };
            let content = tokens.iter().map(|token| ChatToken {
                token: one(token),
                top_logprobs: token.top.iter().map(one).collect(),
            });
            Logprobs::Chat { content: content.collect(), refusal: None }
        }
        Kind::Completion => {
            let top = |token: &TokenLogprob| {
                token.top.iter().map(|token| (text(token), token.logprob)).collect()
            };
            let offsets = tokens.iter().scan(offset, |at, token| {
                let here = *at;
                *at += text(token).chars().count();
                Some(here)
            });
            Logprobs::Completion {
                tokens: tokens.iter().map(text).collect(),
                token_logprobs: tokens.iter().map(|token| token.logprob).collect(),
                top_logprobs: tokens.iter().map(top).collect(),
                text_offset: offsets.collect(),
            }
        }
    }
}
