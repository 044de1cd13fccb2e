//! OpenAI's answer, as far as translations read it.

use serde::Deserialize;

/// A chunk of a stream, or a whole answer.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Completion {
    #[serde(default)]
    pub(crate) id: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub(crate) created: u64,
    #[serde(default)]
    pub(crate) model: String,
    #[serde(default)]
    choices: Vec<Choice>,
    pub(crate) usage: Option<Usage>,
    pub(crate) timings: Option<Timings>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Choice {
    #[serde(default, alias = "message")]
    pub(crate) delta: Delta,
    /// Of a plain completion.
    pub(crate) text: Option<String>,
    pub(crate) finish_reason: Option<Finish>,
    /// The stop string that ended the answer; a number where it was a token.
    #[serde(default)]
    stop_reason: serde_json::Value,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Delta {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    pub(crate) tool_calls: Option<Vec<CallPart>>,
}

/// A part of a call, or all of it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct CallPart {
    pub(crate) index: Option<usize>,
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) function: FunctionPart,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct FunctionPart {
    pub(crate) name: Option<String>,
    pub(crate) arguments: Option<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    Length,
    ToolCalls,
    ContentFilter,
    #[serde(other)]
    Stop,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default)]
    pub(crate) completion_tokens: u64,
    prompt_tokens_details: Option<PromptTokens>,
    completion_tokens_details: Option<CompletionTokens>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct PromptTokens {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct CompletionTokens {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// As llama.cpp's server reports them, in milliseconds.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(crate) struct Timings {
    #[serde(default)]
    pub(crate) prompt_ms: f64,
    #[serde(default)]
    pub(crate) predicted_ms: f64,
}

impl Completion {
    /// There is one where the request asked for one; none in a chunk that has only the usage.
    pub(crate) fn choice(&mut self) -> Option<Choice> {
        self.choices.drain(..).next()
    }
}

impl Choice {
    pub(crate) fn stop_string(&mut self) -> Option<String> {
        match self.stop_reason.take() {
            serde_json::Value::String(stop) => Some(stop),
            _ => None,
        }
    }
}

impl Delta {
    /// Text of the answer, if there is any.
    pub(crate) fn text(&mut self) -> Option<String> {
        self.content.take().filter(|text| !text.is_empty())
    }

    /// Text of what the model reasons, if there is any.
    pub(crate) fn reasoning(&mut self) -> Option<String> {
        self.reasoning_content.take().filter(|text| !text.is_empty())
    }
}

impl Usage {
    pub(crate) fn cached_tokens(&self) -> u64 {
        self.prompt_tokens_details.and_then(|details| details.cached_tokens).unwrap_or(0)
    }

    pub(crate) fn reasoning_tokens(&self) -> u64 {
        self.completion_tokens_details.and_then(|details| details.reasoning_tokens).unwrap_or(0)
    }
}
