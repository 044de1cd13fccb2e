//! The JSON that is sent.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Kind;
use crate::engine::{Finish, FinishReason, TokenLogprob, Usage};

/// One `data:` frame of a stream.
#[derive(Serialize)]
pub(super) struct Chunk<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) system_fingerprint: &'static str,
    pub(super) choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timings: Option<Value>,
}

#[derive(Serialize)]
pub(super) struct Choice<'a> {
    pub(super) index: u32,
    #[serde(flatten)]
    pub(super) content: Content<'a>,
    pub(super) logprobs: Option<Value>,
    pub(super) finish_reason: Option<&'static str>,
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

#[derive(Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
    pub(super) refusal: Option<()>,
}

pub(super) fn finish_reason(finish: &Finish) -> &'static str {
    match finish.reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
    }
}

pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
    })
}

/// As llama.cpp's server reports them. The first token is the prompt's work.
pub(super) fn timings(usage: &Usage) -> Value {
    let prompt = usage.prompt_tokens - usage.cached_tokens;
    let predicted = usage.completion_tokens.saturating_sub(1);
    let (prompt_s, predicted_s) =
        (usage.prompt_time.as_secs_f64(), usage.completion_time.as_secs_f64());
    let rate =
        |count: u32, seconds: f64| if seconds > 0.0 { f64::from(count) / seconds } else { 0.0 };
    json!({
        "cache_n": usage.cached_tokens,
        "prompt_n": prompt,
        "prompt_ms": prompt_s * 1e3,
        "prompt_per_second": rate(prompt, prompt_s),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": predicted_s * 1e3,
        "predicted_per_second": rate(predicted, predicted_s),
    })
}

/// `offset` is how many characters of the completion came before.
pub(super) fn logprobs(kind: Kind, tokens: &[TokenLogprob], offset: usize) -> Value {
    match kind {
        Kind::Chat => {
            let one = |token: &TokenLogprob| {
                json!({
                    "token": String::from_utf8_lossy(&token.bytes),
                    "logprob": token.logprob,
                    "bytes": token.bytes,
                })
            };
            let content = tokens.iter().map(|token| {
                let mut entry = one(token);
                entry["top_logprobs"] = token.top.iter().map(one).collect();
                entry
            });
            json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
        }
        Kind::Completion => {
            let text = |token: &TokenLogprob| String::from_utf8_lossy(&token.bytes).into_owned();
            let top = |token: &TokenLogprob| -> Value {
                token.top.iter().map(|token| (text(token), json!(token.logprob))).collect()
            };
            let offsets = tokens.iter().scan(offset, |at, token| {
                let here = *at;
                *at += text(token).chars().count();
                Some(here)
            });
            json!({
                "tokens": tokens.iter().map(text).collect::<Vec<_>>(),
                "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
                "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
                "text_offset": offsets.collect::<Vec<_>>(),
            })
        }
    }
}
