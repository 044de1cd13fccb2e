use jiff::Timestamp;
use rbee_api::ErrorBody;
use serde::Serialize;
use serde_json::{Number, Value, json};

use super::output::{Item, Kind, Open, Status};
use crate::{
    answer::{Answer, Unreadable, event, read, write},
    completion::{CallPart, Completion, Delta, Finish, Usage},
    fields::Raw,
};

/// What of the request a response repeats.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) instructions: Option<String>,
    pub(super) model: Option<String>,
    pub(super) max_output_tokens: Option<Number>,
    pub(super) temperature: Option<Number>,
    pub(super) top_p: Option<Number>,
    pub(super) parallel_tool_calls: bool,
    pub(super) tools: Vec<EchoedTool>,
    pub(super) tool_choice: Option<Raw>,
    pub(super) text: Option<Raw>,
    pub(super) reasoning: Option<Raw>,
    pub(super) metadata: Option<Raw>,
}

/// A function, with each of its members.
#[derive(Debug, Clone, Serialize)]
pub(super) struct EchoedTool {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Raw>,
    pub(super) strict: Option<bool>,
}

/// A response, event by event or whole.
#[derive(Debug)]
pub struct Responses {
    echo: Echo,
    /// The completion's, which all ids are made from; empty before the first chunk.
    id: String,
    created_at: u64,
    /// The model's name where the request had none.
    model: String,
    begun: bool,
    /// Of the next event.
    sequence_number: u64,
    items: Vec<Item>,
    open: Option<Open>,
    finish: Option<Finish>,
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct Response<'a> {
    id: String,
    object: &'static str,
    created_at: u64,
    /// Seconds since 1970.
    completed_at: Option<i64>,
    status: Status,
    background: bool,
    error: Option<Failure<'a>>,
    frequency_penalty: u32,
    incomplete_details: Option<Incomplete>,
    instructions: Option<&'a str>,
    max_output_tokens: Option<&'a Number>,
    max_tool_calls: Option<u32>,
    metadata: Repeated<'a>,
    model: &'a str,
    output: &'a [Item],
    parallel_tool_calls: bool,
    presence_penalty: u32,
    previous_response_id: Option<&'a str>,
    prompt_cache_key: Option<&'a str>,
    reasoning: Repeated<'a>,
    safety_identifier: Option<&'a str>,
    service_tier: &'static str,
    store: bool,
    temperature: Repeated<'a>,
    text: Repeated<'a>,
    tool_choice: Repeated<'a>,
    tools: &'a [EchoedTool],
    top_logprobs: u32,
    top_p: Repeated<'a>,
    truncation: &'static str,
    usage: Option<TokenUsage>,
    user: Option<&'a str>,
}

/// As it came, or what it stands for where it did not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Repeated<'a> {
    Given(&'a Raw),
    Number(&'a Number),
    Usual(Value),
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct Incomplete {
    reason: &'static str,
}

#[derive(Debug, Serialize)]
struct TokenUsage {
    input_tokens: u64,
    input_tokens_details: InputTokens,
    output_tokens: u64,
    output_tokens_details: OutputTokens,
    total_tokens: u64,
}

#[derive(Debug, Serialize)]
struct InputTokens {
    cached_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputTokens {
    reasoning_tokens: u64,
}

#[derive(Debug, Serialize)]
struct Numbered<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    data: &'a T,
}

#[derive(Debug, Serialize)]
struct Whole<'a> {
    response: Response<'a>,
}

impl Responses {
    pub(super) fn new(echo: Echo) -> Self {
        Self {
            echo,
            id: String::new(),
            created_at: 0,
            model: String::new(),
            begun: false,
            sequence_number: 0,
            items: Vec::new(),
            open: None,
            finish: None,
            usage: None,
        }
    }

    fn note(&mut self, completion: &Completion) {
        if self.id.is_empty() {
            self.id = completion.id.rsplit('-').next().unwrap_or_default().to_owned();
            self.created_at = completion.created;
            self.model.clone_from(&completion.model);
        }
        self.usage = completion.usage.or(self.usage);
    }

    fn tell(&mut self, kind: &'static str, data: &impl Serialize, out: &mut String) {
        let sequence_number = self.sequence_number;
        self.sequence_number += 1;
        event(out, kind, &Numbered { kind, sequence_number, data });
    }

    fn begin(&mut self, out: &mut String) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            let sequence_number = self.sequence_number;
            self.sequence_number += 1;
            let data = &Whole { response: self.response(Status::InProgress, None) };
            event(out, kind, &Numbered { kind, sequence_number, data });
        }
    }

    /// Has that kind of item under way.
    fn open(&mut self, kind: Kind, out: &mut String) {
        if self.open.as_ref().is_some_and(|open| continues(&open.kind, &kind)) {
            return;
        }
        self.close(Status::Completed, out);
        let index = self.items.len();
        let id = format!("{}_{}_{index}", kind.prefix(), self.id);
        let open = Open { kind, id, index, text: String::new() };
        let added = json!({ "output_index": index, "item": open.begun() });
        self.tell("response.output_item.added", &added, out);
        if let Some(part) = open.kind.part(String::new()) {
            let added = json!({ "item_id": open.id, "output_index": index, "content_index": 0,
                                "part": part });
            self.tell("response.content_part.added", &added, out);
        }
        self.open = Some(open);
    }

    /// Adds to the text of the item that is under way.
    fn add(&mut self, text: &str, out: &mut String) {
        let Some(open) = &mut self.open else { return };
        open.text.push_str(text);
        let mut delta = json!({ "item_id": open.id, "output_index": open.index, "delta": text });
        let kind = match open.kind {
            Kind::Reasoning => "response.reasoning_text.delta",
            Kind::Message => {
                delta["logprobs"] = json!([]);
                "response.output_text.delta"
            }
            Kind::Call { .. } => "response.function_call_arguments.delta",
        };
        if !matches!(open.kind, Kind::Call { .. }) {
            delta["content_index"] = json!(0);
        }
        self.tell(kind, &delta, out);
    }

    fn close(&mut self, status: Status, out: &mut String) {
        let Some(open) = self.open.take() else { return };
        let mut done = json!({ "item_id": open.id, "output_index": open.index });
        let kind = match &open.kind {
            Kind::Reasoning => {
                done["text"] = json!(open.text);
                "response.reasoning_text.done"
            }
            Kind::Message => {
                done["text"] = json!(open.text);
                done["logprobs"] = json!([]);
                "response.output_text.done"
            }
            Kind::Call { name, .. } => {
                done["arguments"] = json!(open.text);
                done["name"] = json!(name);
                "response.function_call_arguments.done"
            }
        };
        let part = open.kind.part(open.text.clone());
        if part.is_some() {
            done["content_index"] = json!(0);
        }
        self.tell(kind, &done, out);
        if let Some(part) = part {
            let done = json!({ "item_id": open.id, "output_index": open.index, "content_index": 0,
                               "part": part });
            self.tell("response.content_part.done", &done, out);
        }
        let item = open.ended(status);
        let done = json!({ "output_index": open.index, "item": item });
        self.tell("response.output_item.done", &done, out);
        self.items.push(item);
    }

    /// What has come, in the order in which it does.
    fn take(&mut self, mut delta: Delta, out: &mut String) {
        if let Some(text) = delta.reasoning() {
            self.open(Kind::Reasoning, out);
            self.add(&text, out);
        }
        if let Some(text) = delta.text() {
            self.open(Kind::Message, out);
            self.add(&text, out);
        }
        for (nth, CallPart { index, id, function }) in
            delta.tool_calls.take().unwrap_or_default().into_iter().enumerate()
        {
            // A whole answer does not number its calls.
            let number = index.unwrap_or(nth);
            let (call_id, name) = (id.unwrap_or_default(), function.name.unwrap_or_default());
            self.open(Kind::Call { number, call_id, name }, out);
            if let Some(arguments) = function.arguments.filter(|text| !text.is_empty()) {
                self.add(&arguments, out);
            }
        }
    }

    fn response<'a>(&'a self, status: Status, error: Option<Failure<'a>>) -> Response<'a> {
        let Echo {
            instructions,
            model,
            max_output_tokens,
            temperature,
            top_p,
            parallel_tool_calls,
            tools,
            tool_choice,
            text,
            reasoning,
            metadata,
        } = &self.echo;
        let or = |given: &'a Option<Raw>, usual: Value| {
            given.as_ref().map_or(Repeated::Usual(usual), Repeated::Given)
        };
        // What holds for the model where nobody says anything is not known here: OpenAI's own is told.
        let number = |given: &'a Option<Number>| {
            given.as_ref().map_or(Repeated::Usual(json!(1)), Repeated::Number)
        };
        let completed = status == Status::Completed;
        let reason = match self.finish {
            Some(Finish::Length) => Some("max_output_tokens"),
            Some(Finish::ContentFilter) => Some("content_filter"),
            Some(Finish::Stop | Finish::ToolCalls) | None => None,
        };
        Response {
            id: format!("resp_{}", self.id),
            object: "response",
            created_at: self.created_at,
            completed_at: completed.then(|| Timestamp::now().as_second()),
            status,
            background: false,
            error,
            frequency_penalty: 0,
            incomplete_details: reason
                .filter(|_| status == Status::Incomplete)
                .map(|reason| Incomplete { reason }),
            instructions: instructions.as_deref(),
            max_output_tokens: max_output_tokens.as_ref(),
            max_tool_calls: None,
            metadata: or(metadata, json!({})),
            model: model.as_deref().unwrap_or(&self.model),
            output: &self.items,
            parallel_tool_calls: *parallel_tool_calls,
            presence_penalty: 0,
            previous_response_id: None,
            prompt_cache_key: None,
            reasoning: or(reasoning, json!({ "effort": null, "summary": null })),
            safety_identifier: None,
            service_tier: "default",
            store: false,
            temperature: number(temperature),
            text: or(text, json!({ "format": { "type": "text" } })),
            tool_choice: or(tool_choice, json!("auto")),
            tools,
            top_logprobs: 0,
            top_p: number(top_p),
            truncation: "disabled",
            usage: self.usage.as_ref().filter(|_| status != Status::InProgress).map(token_usage),
            user: None,
        }
    }

    fn status(&self) -> Status {
        match self.finish {
            Some(Finish::Length | Finish::ContentFilter) => Status::Incomplete,
            Some(Finish::Stop | Finish::ToolCalls) | None => Status::Completed,
        }
    }
}

fn continues(open: &Kind, kind: &Kind) -> bool {
    match (open, kind) {
        (Kind::Call { number: open, .. }, Kind::Call { number, .. }) => open == number,
        (open, kind) => open == kind,
    }
}

fn token_usage(usage: &Usage) -> TokenUsage {
    TokenUsage {
        input_tokens: usage.prompt_tokens,
        input_tokens_details: InputTokens { cached_tokens: usage.cached_tokens() },
        output_tokens: usage.completion_tokens,
        output_tokens_details: OutputTokens { reasoning_tokens: usage.reasoning_tokens() },
        total_tokens: usage.prompt_tokens + usage.completion_tokens,
    }
}

impl Answer for Responses {
    const CONTENT_TYPE: &'static str = "text/event-stream";
    const KEEP_ALIVE: Option<&'static str> = Some(":\n\n");

    fn chunk(&mut self, data: &str, out: &mut String) -> Result<(), Unreadable> {
        let mut chunk: Completion = read(data.as_bytes())?;
        self.note(&chunk);
        self.begin(out);
        if let Some(choice) = chunk.choice() {
            self.finish = choice.finish_reason.or(self.finish);
            self.take(choice.delta, out);
        }
        Ok(())
    }

    fn done(&mut self, out: &mut String) {
        self.begin(out);
        let status = self.status();
        self.close(status, out);
        let kind = match status {
            Status::Incomplete => "response.incomplete",
            Status::InProgress | Status::Completed | Status::Failed => "response.completed",
        };
        let (sequence_number, response) = (self.sequence_number, self.response(status, None));
        event(out, kind, &Numbered { kind, sequence_number, data: &Whole { response } });
    }

    fn failed(&mut self, body: &ErrorBody, out: &mut String) {
        self.begin(out);
        let kind = "response.failed";
        let failure = Failure { code: body.error.code.as_str(), message: &body.error.message };
        let response = self.response(Status::Failed, Some(failure));
        let sequence_number = self.sequence_number;
        event(out, kind, &Numbered { kind, sequence_number, data: &Whole { response } });
    }

    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let mut completion: Completion = read(body)?;
        self.note(&completion);
        let choice = completion.choice().unwrap_or_default();
        self.finish = choice.finish_reason;
        // Nobody sees its events.
        let mut events = String::new();
        self.take(choice.delta, &mut events);
        let status = self.status();
        self.close(status, &mut events);
        Ok(write(&self.response(status, None)).into_bytes())
    }
}
