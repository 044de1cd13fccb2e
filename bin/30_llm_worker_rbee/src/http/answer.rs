//! Events to a response, whole or streamed.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use http_guard::ApiError;
use job_server::JobWriter;
use rbee_api::StreamEvent;
use tokio::{sync::mpsc, time::timeout};
use worker_service::Hold;

use super::{
    Service,
    error::engine_failed,
    now,
    params::Params,
    reader::{Part, Reader},
    wire::{
        self, Call, CallPart, Choice, Chunk, Content, Delta, Function, FunctionPart, Logprobs,
        Message,
    },
};
use crate::{
    engine::{Event, Finish, TokenLogprob},
    tools::Piece,
};

/// How long a failure before the first token is answered by a status of its own. After that the
/// stream begins without one, so that nobody on the way takes the worker for dead.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chat,
    Completion,
}

/// An answer on its way to the client.
pub(super) struct Answer {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    fingerprint: Arc<str>,
    events: mpsc::Receiver<Event>,
    /// Characters sent so far.
    sent: usize,
    include_usage: bool,
    reader: Reader,
    _hold: Hold,
}

impl Answer {
    pub(super) fn new(
        kind: Kind,
        service: &Service,
        events: mpsc::Receiver<Event>,
        hold: Hold,
    ) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        Self {
            kind,
            id: format!("{prefix}-{}", uuid::Uuid::now_v7().simple()),
            created: now(),
            model: service.name.to_string(),
            fingerprint: Arc::clone(&service.fingerprint),
            events,
            sent: 0,
            include_usage: false,
            reader: Reader::default(),
            _hold: hold,
        }
    }

    /// The same, whose text is taken apart by `reader`.
    pub(super) fn read_by(mut self, reader: Reader) -> Self {
        self.reader = reader;
        self
    }

    pub(super) async fn respond(
        mut self,
        service: &Service,
        params: &Params,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        if !params.stream {
            return self.collect().await;
        }
        self.include_usage = params.include_usage;
        let first = match timeout(HEADERS_WITHIN, self.next()).await {
            Ok(Event::Failed(reason)) => return Err(engine_failed(reason)),
            Ok(event) => Some(event),
            Err(_) => None,
        };
        let (job, response) = service.worker.begin(headers)?;
        tokio::spawn(self.stream(job, first));
        Ok(response)
    }

    /// The next event; a channel that closes without an end means that the engine died.
    async fn next(&mut self) -> Event {
        self.events
            .recv()
            .await
            .unwrap_or_else(|| Event::Failed("the engine has stopped".to_owned()))
    }

    async fn collect(mut self) -> Result<Response, ApiError> {
        let (mut whole, mut tokens) = (Whole::default(), Vec::new());
        let finish = loop {
            match self.next().await {
                Event::Text { text, logprobs } => {
                    let parts = self.reader.push(text);
                    whole.add(parts, &self.reader);
                    tokens.extend(logprobs);
                }
                Event::End(finish) => break finish,
                Event::Failed(reason) => return Err(engine_failed(reason)),
            }
        };
        let parts = self.reader.finish();
        whole.add(parts, &self.reader);
        let Whole { thoughts, text, calls } = whole;
        let content = match self.kind {
            Kind::Chat => Content::Message(Message {
                role: "assistant",
                content: Some(text.as_str()).filter(|text| !text.is_empty() || calls.is_empty()),
                reasoning_content: Some(thoughts.as_str()).filter(|thoughts| !thoughts.is_empty()),
                refusal: None,
                tool_calls: &calls,
            }),
            Kind::Completion => Content::Text(&text),
        };
        let logprobs = (!tokens.is_empty()).then(|| wire::logprobs(self.kind, &tokens, 0));
        let choice = Choice {
            index: 0,
            content,
            logprobs,
            finish_reason: Some(wire::finish_reason(&finish, !calls.is_empty())),
        };
        let mut body = self.chunk(std::slice::from_ref(&choice));
        body.object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Completion => "text_completion",
        };
        body.usage = Some(wire::usage(&finish.usage));
        body.timings = Some(wire::timings(&finish.usage));
        Ok(Json(body).into_response())
    }

    /// One event for each chunk: nothing is collected and nothing waits.
    async fn stream(mut self, job: JobWriter, mut first: Option<Event>) {
        if self.kind == Kind::Chat {
            let delta = Delta { role: Some("assistant"), content: Some(""), ..Delta::default() };
            self.write(&job, Content::Delta(delta), None, None);
        }
        loop {
            let event = match first.take() {
                Some(event) => event,
                None => tokio::select! {
                    biased;
                    () = job.cancelled() => return job.cancelled_end(),
                    event = self.next() => event,
                },
            };
            match event {
                Event::Text { text, logprobs } => {
                    let parts = self.reader.push(text);
                    if parts.is_empty() && !logprobs.is_empty() {
                        // Tokens of what is held back.
                        self.write_text(&job, "", &logprobs);
                        continue;
                    }
                    for (at, part) in parts.iter().enumerate() {
                        self.write_part(&job, part, if at == 0 { &logprobs } else { &[] });
                    }
                }
                Event::End(finish) => {
                    for part in self.reader.finish() {
                        self.write_part(&job, &part, &[]);
                    }
                    self.write_end(&job, &finish);
                    return job.complete();
                }
                Event::Failed(reason) => {
                    return job.fail_with(engine_failed(reason).into());
                }
            }
        }
    }

    fn write_part(&mut self, job: &JobWriter, part: &Part, tokens: &[TokenLogprob]) {
        let id;
        let mut delta = Delta::default();
        match part {
            Part::Said(Piece::Text(text)) => return self.write_text(job, text, tokens),
            Part::Thought(text) => delta.reasoning_content = Some(text),
            Part::Said(Piece::Call { index, name }) => {
                id = self.reader.call_id();
                delta.tool_calls = Some([CallPart {
                    index: *index,
                    id: Some(&id),
                    kind: Some("function"),
                    function: FunctionPart { name: Some(name), arguments: "" },
                }]);
            }
            Part::Said(Piece::Arguments { index, text }) => {
                delta.tool_calls = Some([CallPart {
                    index: *index,
                    id: None,
                    kind: None,
                    function: FunctionPart { name: None, arguments: text },
                }]);
            }
        }
        let logprobs = self.logprobs("", tokens);
        self.write(job, Content::Delta(delta), logprobs, None);
    }

    fn write_text(&mut self, job: &JobWriter, text: &str, tokens: &[TokenLogprob]) {
        let logprobs = self.logprobs(text, tokens);
        let content = match self.kind {
            Kind::Chat => Content::Delta(Delta { content: Some(text), ..Delta::default() }),
            Kind::Completion => Content::Text(text),
        };
        self.write(job, content, logprobs, None);
    }

    /// What is said of the tokens that came with `text`.
    fn logprobs(&mut self, text: &str, tokens: &[TokenLogprob]) -> Option<Logprobs> {
        let logprobs = (!tokens.is_empty()).then(|| wire::logprobs(self.kind, tokens, self.sent));
        if !tokens.is_empty() {
            self.sent += text.chars().count();
        }
        logprobs
    }

    fn write_end(&self, job: &JobWriter, finish: &Finish) {
        let content = match self.kind {
            Kind::Chat => Content::Delta(Delta::default()),
            Kind::Completion => Content::Text(""),
        };
        self.write(job, content, None, Some(finish));
        if self.include_usage {
            let mut chunk = self.chunk(&[]);
            chunk.usage = Some(wire::usage(&finish.usage));
            send(job, &chunk);
        }
        job.send(StreamEvent::Done);
    }

    fn write(
        &self,
        job: &JobWriter,
        content: Content<'_>,
        logprobs: Option<Logprobs>,
        finish: Option<&Finish>,
    ) {
        let finish_reason =
            finish.map(|finish| wire::finish_reason(finish, self.reader.has_calls()));
        let choice = Choice { index: 0, content, logprobs, finish_reason };
        let mut chunk = self.chunk(std::slice::from_ref(&choice));
        chunk.timings = finish.map(|finish| wire::timings(&finish.usage));
        send(job, &chunk);
    }

    fn chunk<'a>(&'a self, choices: &'a [Choice<'a>]) -> Chunk<'a> {
        Chunk {
            id: &self.id,
            object: match self.kind {
                Kind::Chat => "chat.completion.chunk",
                Kind::Completion => "text_completion",
            },
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: None,
            timings: None,
        }
    }
}

/// All that was said.
#[derive(Default)]
struct Whole {
    thoughts: String,
    text: String,
    calls: Vec<Call>,
}

impl Whole {
    fn add(&mut self, parts: Vec<Part>, reader: &Reader) {
        for part in parts {
            match part {
                Part::Thought(more) => self.thoughts.push_str(&more),
                Part::Said(Piece::Text(more)) => self.text.push_str(&more),
                Part::Said(Piece::Call { name, .. }) => self.calls.push(Call {
                    id: reader.call_id(),
                    kind: "function",
                    function: Function { name, arguments: String::new() },
                }),
                Part::Said(Piece::Arguments { text, .. }) => {
                    if let Some(call) = self.calls.last_mut() {
                        call.function.arguments.push_str(&text);
                    }
                }
            }
        }
    }
}

fn send(job: &JobWriter, chunk: &Chunk<'_>) {
    match StreamEvent::chunk(chunk) {
        Ok(chunk) => drop(job.send(chunk)),
        Err(error) => tracing::error!(%error, "cannot write a chunk"),
    }
}
