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
    wire::{
        self, Call, CallPart, Choice, Chunk, Content, Delta, Function, FunctionPart, Logprobs,
        Message,
    },
};
use crate::{
    engine::{Event, Finish, TokenLogprob},
    tools::{CallStream, Piece},
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
    /// Finds the calls in the text, where there may be any.
    calls: Option<CallStream>,
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
            calls: None,
            _hold: hold,
        }
    }

    /// The same, which may have calls.
    pub(super) fn with_calls(mut self, calls: Option<CallStream>) -> Self {
        self.calls = calls;
        self
    }

    /// The pieces of text that has come.
    fn pieces(&mut self, text: String) -> Vec<Piece> {
        match &mut self.calls {
            Some(calls) => calls.push(&text),
            None => vec![Piece::Text(text)],
        }
    }

    /// The pieces that were held back to the end.
    fn last_pieces(&mut self) -> Vec<Piece> {
        self.calls.as_mut().map(CallStream::finish).unwrap_or_default()
    }

    fn has_calls(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.calls() > 0)
    }

    fn call_id(&self) -> String {
        self.calls.as_ref().map(CallStream::new_id).unwrap_or_default()
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
        let (mut text, mut tokens, mut calls) = (String::new(), Vec::new(), Vec::new());
        let finish = loop {
            match self.next().await {
                Event::Text { text: more, logprobs } => {
                    let pieces = self.pieces(more);
                    self.collect_pieces(pieces, &mut text, &mut calls);
                    tokens.extend(logprobs);
                }
                Event::End(finish) => break finish,
                Event::Failed(reason) => return Err(engine_failed(reason)),
            }
        };
        let pieces = self.last_pieces();
        self.collect_pieces(pieces, &mut text, &mut calls);
        let content = match self.kind {
            Kind::Chat => Content::Message(Message {
                role: "assistant",
                content: Some(text.as_str()).filter(|text| !text.is_empty() || calls.is_empty()),
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

    fn collect_pieces(&self, pieces: Vec<Piece>, text: &mut String, calls: &mut Vec<Call>) {
        for piece in pieces {
            match piece {
                Piece::Text(more) => text.push_str(&more),
                Piece::Call { name, .. } => calls.push(Call {
                    id: self.call_id(),
                    kind: "function",
                    function: Function { name, arguments: String::new() },
                }),
                Piece::Arguments { text, .. } => {
                    if let Some(call) = calls.last_mut() {
                        call.function.arguments.push_str(&text);
                    }
                }
            }
        }
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
                    let pieces = self.pieces(text);
                    if pieces.is_empty() && !logprobs.is_empty() {
                        // Tokens of what is held back.
                        self.write_text(&job, "", &logprobs);
                        continue;
                    }
                    for (at, piece) in pieces.iter().enumerate() {
                        self.write_piece(&job, piece, if at == 0 { &logprobs } else { &[] });
                    }
                }
                Event::End(finish) => {
                    for piece in self.last_pieces() {
                        self.write_piece(&job, &piece, &[]);
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

    fn write_piece(&mut self, job: &JobWriter, piece: &Piece, tokens: &[TokenLogprob]) {
        let id;
        let part = match piece {
            Piece::Text(text) => return self.write_text(job, text, tokens),
            Piece::Call { index, name } => {
                id = self.call_id();
                CallPart {
                    index: *index,
                    id: Some(&id),
                    kind: Some("function"),
                    function: FunctionPart { name: Some(name), arguments: "" },
                }
            }
            Piece::Arguments { index, text } => CallPart {
                index: *index,
                id: None,
                kind: None,
                function: FunctionPart { name: None, arguments: text },
            },
        };
        let logprobs = self.logprobs("", tokens);
        let delta = Delta { tool_calls: Some([part]), ..Delta::default() };
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
        let finish_reason = finish.map(|finish| wire::finish_reason(finish, self.has_calls()));
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

fn send(job: &JobWriter, chunk: &Chunk<'_>) {
    match StreamEvent::chunk(chunk) {
        Ok(chunk) => drop(job.send(chunk)),
        Err(error) => tracing::error!(%error, "cannot write a chunk"),
    }
}
