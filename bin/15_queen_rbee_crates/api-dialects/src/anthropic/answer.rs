use rbee_api::ErrorBody;
use serde::Serialize;
use serde_json::json;

use super::error;
use crate::{
    answer::{Answer, Unreadable, arguments, event, read, write},
    completion::{CallPart, Choice, Completion, Finish, Usage},
    fields::Raw,
};

/// A message, event by event or whole.
#[derive(Debug)]
pub struct Messages {
    model: String,
    begun: bool,
    /// Of the block that is under way, or would be next.
    index: usize,
    open: Option<Open>,
    end: End,
}

/// A block that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
    /// The call of that number.
    Call(usize),
}

/// What is told last.
#[derive(Debug, Default)]
struct End {
    /// The request's own sequences: of others, such as the model's settings have, a client knows nothing.
    sequences: Vec<String>,
    finish: Option<Finish>,
    stop_string: Option<String>,
    usage: Usage,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    stop_details: (),
    container: (),
    usage: TokenUsage,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text { text: String, citations: () },
    Thinking { thinking: String, signature: &'static str },
    ToolUse { id: String, name: String, input: Raw, caller: Caller },
}

/// Who calls a tool.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Caller {
    /// The model itself.
    #[default]
    Direct,
}

/// The prompt's tokens are told apart by whether they had to be read. What there is nothing to tell
/// of is null, as Anthropic's own answers have it.
#[derive(Debug, Default, Serialize)]
struct TokenUsage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: (),
    output_tokens: u64,
    output_tokens_details: OutputTokens,
    inference_geo: (),
    server_tool_use: (),
    service_tier: (),
}

#[derive(Debug, Default, Serialize)]
struct OutputTokens {
    thinking_tokens: u64,
}

impl Messages {
    pub(super) fn new(model: String, sequences: Vec<String>) -> Self {
        let end = End { sequences, ..End::default() };
        Self { model, begun: false, index: 0, open: None, end }
    }

    fn begin(&mut self, id: &str, out: &mut String) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = Message {
            id: message_id(id),
            kind: "message",
            role: "assistant",
            model: &self.model,
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            stop_details: (),
            container: (),
            usage: TokenUsage::default(),
        };
        event(out, "message_start", &json!({ "type": "message_start", "message": message }));
    }

    /// Has that kind of block under way.
    fn open(&mut self, block: Open, start: impl FnOnce() -> serde_json::Value, out: &mut String) {
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        self.open = Some(block);
        let (index, block) = (self.index, start());
        let start =
            json!({ "type": "content_block_start", "index": index, "content_block": block });
        event(out, "content_block_start", &start);
    }

    fn close(&mut self, out: &mut String) {
        if self.open.take().is_some() {
            let stop = json!({ "type": "content_block_stop", "index": self.index });
            event(out, "content_block_stop", &stop);
            self.index += 1;
        }
    }

    fn delta(&self, delta: &serde_json::Value, out: &mut String) {
        let delta = json!({ "type": "content_block_delta", "index": self.index, "delta": delta });
        event(out, "content_block_delta", &delta);
    }

    fn call(&mut self, CallPart { index, id, function }: CallPart, out: &mut String) {
        let index = index.unwrap_or(0);
        let (id, name) = (id.unwrap_or_default(), function.name.unwrap_or_default());
        let caller = Caller::Direct;
        let start =
            || json!({ "type": "tool_use", "id": id, "name": name, "input": {}, "caller": caller });
        self.open(Open::Call(index), start, out);
        if let Some(arguments) = function.arguments.filter(|arguments| !arguments.is_empty()) {
            self.delta(&json!({ "type": "input_json_delta", "partial_json": arguments }), out);
        }
    }
}

impl End {
    fn note(&mut self, choice: &mut Choice) {
        self.finish = choice.finish_reason.or(self.finish);
        let stop = choice.stop_string().filter(|stop| self.sequences.contains(stop));
        self.stop_string = stop.or(self.stop_string.take());
    }

    fn reason(&self) -> &'static str {
        match (self.finish, &self.stop_string) {
            (Some(Finish::Length), _) => "max_tokens",
            (Some(Finish::ToolCalls), _) => "tool_use",
            (Some(Finish::ContentFilter), _) => "refusal",
            (Some(Finish::Stop) | None, Some(_)) => "stop_sequence",
            (Some(Finish::Stop) | None, None) => "end_turn",
        }
    }

    fn usage(&self) -> TokenUsage {
        let cached = self.usage.cached_tokens();
        TokenUsage {
            input_tokens: self.usage.prompt_tokens.saturating_sub(cached),
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: cached,
            output_tokens: self.usage.completion_tokens,
            output_tokens_details: OutputTokens { thinking_tokens: self.usage.reasoning_tokens() },
            ..TokenUsage::default()
        }
    }
}

impl Answer for Messages {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    const KEEP_ALIVE: Option<&'static str> = Some("event: ping\ndata: {\"type\": \"ping\"}\n\n");

    fn chunk(&mut self, data: &str, out: &mut String) -> Result<(), Unreadable> {
        let mut chunk: Completion = read(data.as_bytes())?;
        self.begin(&chunk.id, out);
        if let Some(usage) = chunk.usage {
            self.end.usage = usage;
        }
        let Some(mut choice) = chunk.choice() else { return Ok(()) };
        if let Some(thinking) = choice.delta.reasoning() {
            let start = || json!({ "type": "thinking", "thinking": "", "signature": "" });
            self.open(Open::Thinking, start, out);
            self.delta(&json!({ "type": "thinking_delta", "thinking": thinking }), out);
        }
        if let Some(text) = choice.delta.text() {
            let start = || json!({ "type": "text", "text": "", "citations": null });
            self.open(Open::Text, start, out);
            self.delta(&json!({ "type": "text_delta", "text": text }), out);
        }
        for call in choice.delta.tool_calls.take().unwrap_or_default() {
            self.call(call, out);
        }
        self.end.note(&mut choice);
        Ok(())
    }

    fn done(&mut self, out: &mut String) {
        self.begin("", out);
        self.close(out);
        let delta = json!({
            "type": "message_delta",
            "delta": {
                "stop_reason": self.end.reason(),
                "stop_sequence": self.end.stop_string,
                "stop_details": null,
                "container": null,
            },
            "usage": self.end.usage(),
        });
        event(out, "message_delta", &delta);
        event(out, "message_stop", &json!({ "type": "message_stop" }));
    }

    fn failed(&mut self, body: &ErrorBody, out: &mut String) {
        event(out, "error", &error(body));
    }

    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut completion: Completion = read(body)?;
        let mut choice = completion.choice().unwrap_or_default();
        let mut content = Vec::new();
        if let Some(thinking) = choice.delta.reasoning() {
            content.push(Block::Thinking { thinking, signature: "" });
        }
        if let Some(text) = choice.delta.text() {
            content.push(Block::Text { text, citations: () });
        }
        for CallPart { id, function, .. } in choice.delta.tool_calls.take().unwrap_or_default() {
            content.push(Block::ToolUse {
                id: id.unwrap_or_default(),
                name: function.name.unwrap_or_default(),
                input: arguments(function.arguments.unwrap_or_default()),
                caller: Caller::Direct,
            });
        }
        self.end.usage = completion.usage.unwrap_or_default();
        self.end.note(&mut choice);
        let message = Message {
            id: message_id(&completion.id),
            kind: "message",
            role: "assistant",
            model: &self.model,
            content,
            stop_reason: Some(self.end.reason()),
            stop_sequence: self.end.stop_string.as_deref(),
            stop_details: (),
            container: (),
            usage: self.end.usage(),
        };
        Ok(write(&message).into_bytes())
    }
}

/// As Anthropic's are called, from the completion's.
fn message_id(id: &str) -> String {
    format!("msg_{}", id.rsplit('-').next().unwrap_or_default())
}
