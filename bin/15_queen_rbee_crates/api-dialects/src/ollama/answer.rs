use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbee_api::ErrorBody;
use serde::Serialize;

use super::{LINES, error};
use crate::{
    answer::{Answer, Unreadable, arguments, read, write},
    completion::{CallPart, Choice, Completion, Finish, Timings, Usage},
    fields::Raw,
};

/// In which members an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Generate,
}

/// An answer line by line, or whole.
#[derive(Debug)]
pub struct Lines {
    kind: Kind,
    model: String,
    /// Whether the answer is that the model is loaded.
    loads: bool,
    asked: Instant,
    /// From then to the first chunk.
    first: Option<Duration>,
    created_at: String,
    /// The call whose arguments are coming: Ollama's are told whole.
    call: Option<(usize, ToolCall)>,
    finish: Option<Finish>,
    usage: Usage,
    timings: Timings,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: &'a str,
    #[serde(flatten)]
    said: Said<'a>,
    done: bool,
    #[serde(flatten)]
    end: Option<End>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said<'a> {
    Chat {
        message: Message<'a>,
    },
    Generate {
        response: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        thinking: Option<&'a str>,
    },
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [ToolCall],
}

#[derive(Debug, Default, Serialize)]
struct ToolCall {
    id: String,
    function: Function,
}

#[derive(Debug, Default, Serialize)]
struct Function {
    name: String,
    arguments: Arguments,
}

/// Text while they come, an object when they are sent.
#[derive(Debug, Default)]
struct Arguments(String);

/// All times are in nanoseconds.
#[derive(Debug, Serialize)]
struct End {
    done_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    counts: Option<Counts>,
}

#[derive(Debug, Serialize)]
struct Counts {
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: u64,
    prompt_eval_duration: u64,
    eval_count: u64,
    eval_duration: u64,
}

/// What an answer says at once.
#[derive(Debug, Default)]
struct Words<'a> {
    text: &'a str,
    thinking: Option<&'a str>,
    calls: &'a [ToolCall],
}

impl Lines {
    pub(super) fn new(kind: Kind, model: String) -> Self {
        Self {
            kind,
            model,
            loads: false,
            asked: Instant::now(),
            first: None,
            created_at: String::new(),
            call: None,
            finish: None,
            usage: Usage::default(),
            timings: Timings::default(),
        }
    }

    pub(super) fn loads(&mut self) {
        self.loads = true;
    }

    fn line(&self, Words { text, thinking, calls }: Words<'_>, end: Option<End>) -> String {
        let said = match self.kind {
            Kind::Chat => Said::Chat {
                message: Message { role: "assistant", content: text, thinking, tool_calls: calls },
            },
            Kind::Generate => Said::Generate { response: text, thinking },
        };
        let (model, created_at, done) = (&self.model, &self.created_at, end.is_some());
        write(&Line { model, created_at, said, done, end })
    }

    fn say(&self, words: Words<'_>, out: &mut String) {
        out.push_str(&self.line(words, None));
        out.push('\n');
    }

    /// Sends the call whose arguments have come, if there is one.
    fn close_call(&mut self, out: &mut String) {
        if let Some((_, call)) = self.call.take() {
            self.say(Words { calls: &[call], ..Words::default() }, out);
        }
    }

    fn note(&mut self, completion: &Completion) {
        self.first.get_or_insert_with(|| self.asked.elapsed());
        if self.created_at.is_empty() {
            self.created_at = rfc_3339(completion.created);
        }
        self.usage = completion.usage.unwrap_or(self.usage);
        self.timings = completion.timings.unwrap_or(self.timings);
    }

    fn end(&self) -> End {
        if self.loads {
            return End { done_reason: "load", counts: None };
        }
        let done_reason = if self.finish == Some(Finish::Length) { "length" } else { "stop" };
        let (prompt, answer) = (nanos(self.timings.prompt_ms), nanos(self.timings.predicted_ms));
        let first = self.first.unwrap_or_default().as_nanos() as u64;
        End {
            done_reason,
            counts: Some(Counts {
                total_duration: self.asked.elapsed().as_nanos() as u64,
                // Whatever was waited for before the prompt was read.
                load_duration: first.saturating_sub(prompt),
                prompt_eval_count: self.usage.prompt_tokens,
                prompt_eval_duration: prompt,
                eval_count: self.usage.completion_tokens,
                eval_duration: answer,
            }),
        }
    }

    fn part(&mut self, CallPart { index, id, function }: CallPart, out: &mut String) {
        let index = index.unwrap_or(0);
        if self.call.as_ref().is_none_or(|(under_way, _)| *under_way != index) {
            self.close_call(out);
        }
        let (_, call) = self.call.get_or_insert_with(|| (index, ToolCall::default()));
        call.add(id, function.name, function.arguments);
    }
}

impl ToolCall {
    fn add(&mut self, id: Option<String>, name: Option<String>, arguments: Option<String>) {
        self.id.push_str(&id.unwrap_or_default());
        self.function.name.push_str(&name.unwrap_or_default());
        self.function.arguments.0.push_str(&arguments.unwrap_or_default());
    }
}

impl Serialize for Arguments {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object: Raw = arguments(self.0.clone());
        object.serialize(serializer)
    }
}

impl Answer for Lines {
    const CONTENT_TYPE: &'static str = LINES;
    /// Clients parse every line.
    const KEEP_ALIVE: Option<&'static str> = None;

    fn chunk(&mut self, data: &str, out: &mut String) -> Result<(), Unreadable> {
        let mut chunk: Completion = read(data.as_bytes())?;
        self.note(&chunk);
        let Some(Choice { mut delta, text, finish_reason, .. }) = chunk.choice() else {
            return Ok(());
        };
        self.finish = finish_reason.or(self.finish);
        if let Some(thinking) = delta.reasoning() {
            self.say(Words { thinking: Some(&thinking), ..Words::default() }, out);
        }
        if let Some(text) = delta.text().or(text.filter(|text| !text.is_empty())) {
            self.say(Words { text: &text, ..Words::default() }, out);
        }
        for part in delta.tool_calls.take().unwrap_or_default() {
            self.part(part, out);
        }
        Ok(())
    }

    fn done(&mut self, out: &mut String) {
        self.close_call(out);
        out.push_str(&self.line(Words::default(), Some(self.end())));
        out.push('\n');
    }

    fn failed(&mut self, body: &ErrorBody, out: &mut String) {
        out.push_str(&write(&error(body)));
        out.push('\n');
    }

    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut completion: Completion = read(body)?;
        self.note(&completion);
        if self.loads {
            return Ok(self.line(Words::default(), Some(self.end())).into_bytes());
        }
        let Choice { mut delta, text, finish_reason, .. } = completion.choice().unwrap_or_default();
        self.finish = finish_reason;
        let calls = delta.tool_calls.take().unwrap_or_default().into_iter().map(|part| {
            let mut call = ToolCall::default();
            call.add(part.id, part.function.name, part.function.arguments);
            call
        });
        let (calls, thinking) = (calls.collect::<Vec<_>>(), delta.reasoning());
        let text = delta.text().or(text).unwrap_or_default();
        let words = Words { text: &text, thinking: thinking.as_deref(), calls: &calls };
        Ok(self.line(words, Some(self.end())).into_bytes())
    }
}

fn nanos(milliseconds: f64) -> u64 {
    (milliseconds * 1e6) as u64
}

fn rfc_3339(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}
