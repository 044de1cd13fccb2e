//! Events to a response, whole or streamed.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use http_guard::ApiError;
use job_server::JobWriter;
use rbee_api::StreamEvent;
use tokio::time::timeout;
use worker_service::Hold;

use super::{
    Service,
    error::engine_failed,
    now,
    params::Params,
    plain::{self, PlainChunks},
    reader::Part,
    voice::Voice,
    wire::{self, CallPart, Choice, Chunk, Content, Delta, FunctionPart, Kind, Logprobs},
};
use crate::{
    engine::{Event, Finish, TokenLogprob, Usage},
    tools::Piece,
};

/// How long a failure before the first token is answered by a status of its own. After that the
/// stream begins without one, so that nobody on the way takes the worker for dead.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);

/// An answer on its way to the client.
pub(super) struct Answer {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    fingerprint: Arc<str>,
    /// Its choices, in their order.
    voices: Vec<Voice>,
    /// Whose turn it is to be looked at first.
    turn: usize,
    include_usage: bool,
    /// Whether the client has its beginning.
    goes_on: bool,
    _hold: Hold,
}

impl Answer {
    pub(super) fn new(kind: Kind, service: &Service, voices: Vec<Voice>, hold: Hold) -> Self {
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
            voices,
            turn: 0,
            include_usage: false,
            goes_on: false,
            _hold: hold,
        }
    }

    /// The same answer as one that was begun elsewhere.
    pub(super) fn behind(mut self, id: String, created: u64) -> Self {
        (self.id, self.created, self.goes_on) = (id, created, true);
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
        if self.has_ended() {
            let (job, response) = service.worker.begin(headers)?;
            tokio::spawn(self.stream(job, None));
            return Ok(response);
        }
        let first = match timeout(HEADERS_WITHIN, self.next()).await {
            Ok((_, Event::Failed(reason))) => return Err(engine_failed(reason)),
            Ok(event) => Some(event),
            Err(_) => None,
        };
        let (job, response) = service.worker.begin(headers)?;
        tokio::spawn(self.stream(job, first));
        Ok(response)
    }

    /// The next event of a choice that has not ended, of which there must be one. A channel that closes
    /// without an end means that the engine died.
    async fn next(&mut self) -> (usize, Event) {
        let count = self.voices.len();
        let next = poll_fn(|context| {
            for step in 0..count {
                let at = (self.turn + step) % count;
                let voice = &mut self.voices[at];
                if voice.finish.is_some() {
                    continue;
                }
                if let Poll::Ready(event) = voice.events.poll_recv(context) {
                    return Poll::Ready((at, event));
                }
            }
            Poll::Pending
        });
        let (at, event) = next.await;
        self.turn = (at + 1) % count;
        (at, event.unwrap_or_else(|| Event::Failed("the engine has stopped".to_owned())))
    }

    fn has_ended(&self) -> bool {
        self.voices.iter().all(|voice| voice.finish.is_some())
    }

    async fn collect(mut self) -> Result<Response, ApiError> {
        while !self.has_ended() {
            let (at, event) = self.next().await;
            match event {
                Event::Text { text, logprobs } => self.voices[at].keep(text, logprobs),
                Event::End(finish) => self.voices[at].end(finish),
                Event::Failed(reason) => return Err(engine_failed(reason)),
            }
        }
        let (kind, usage) = (self.kind, self.usage());
        let mut voices = std::mem::take(&mut self.voices);
        let choices = (0..).zip(&mut voices).map(|(index, voice)| {
            let logprobs = voice.kept_logprobs(kind);
            let calls = voice.reader.has_calls();
            let finish = voice.finish.as_ref().map(|finish| wire::finish_reason(finish, calls));
            let stop_reason = voice.finish.as_ref().and_then(|finish| finish.stop.clone());
            let content = voice.content(kind);
            Choice { index, content, logprobs, finish_reason: finish, stop_reason }
        });
        let choices: Vec<_> = choices.collect();
        let mut body = self.chunk(&choices);
        body.object = match kind {
            Kind::Chat => "chat.completion",
            Kind::Completion => "text_completion",
        };
        body.usage = Some(Some(wire::usage(&usage)));
        body.timings = Some(wire::timings(&usage));
        Ok(Json(body).into_response())
    }

    /// What all choices took. A prompt that several have counts once.
    fn usage(&self) -> Usage {
        let mut all = Usage::default();
        for voice in &self.voices {
            let Some(Finish { usage, .. }) = &voice.finish else { continue };
            if !voice.shares_prompt {
                all.prompt_tokens += usage.prompt_tokens;
                all.cached_tokens += usage.cached_tokens;
            }
            all.completion_tokens += usage.completion_tokens;
            all.begun_tokens += usage.begun_tokens;
            all.drafted_tokens += usage.drafted_tokens;
            all.accepted_tokens += usage.accepted_tokens;
            all.prompt_time = all.prompt_time.max(usage.prompt_time);
            all.completion_time = all.completion_time.max(usage.completion_time);
        }
        all
    }

    /// One event for each chunk: nothing is collected and nothing waits.
    async fn stream(mut self, job: JobWriter, mut first: Option<(usize, Event)>) {
        let beginnings = if self.goes_on { 0 } else { self.voices.len() };
        for at in 0..beginnings {
            if self.kind == Kind::Chat {
                let role = Some("assistant");
                let delta = Delta { role, content: Some(""), ..Delta::default() };
                self.write(&job, at, Content::Delta(delta), None, None);
            }
            if let Some(echo) = self.voices[at].echo.take() {
                self.write_text(&job, at, &echo, &[]);
            }
        }
        let mut cancelled = pin!(job.cancelled());
        while !self.has_ended() {
            let (at, event) = match first.take() {
                Some(event) => event,
                None => tokio::select! {
                    biased;
                    () = &mut cancelled => return job.cancelled_end(),
                    event = self.next() => event,
                },
            };
            match event {
                Event::Text { text, logprobs } => {
                    let parts = self.voices[at].reader.push(text);
                    if parts.is_empty() && !logprobs.is_empty() {
                        // Tokens of what is held back.
                        self.write_text(&job, at, "", &logprobs);
                        continue;
                    }
                    for (place, part) in parts.iter().enumerate() {
                        let tokens: &[_] = if place == 0 { &logprobs } else { &[] };
                        self.write_part(&job, at, part, tokens);
                    }
                }
                Event::End(finish) => {
                    for part in self.voices[at].reader.finish() {
                        self.write_part(&job, at, &part, &[]);
                    }
                    self.write_end(&job, at, &finish);
                    self.voices[at].finish = Some(finish);
                }
                Event::Failed(reason) => {
                    return job.fail_with(engine_failed(reason).into());
                }
            }
        }
        if self.include_usage {
            let mut chunk = self.chunk(&[]);
            chunk.usage = Some(Some(wire::usage(&self.usage())));
            send(&job, &chunk);
        }
        job.send(StreamEvent::Done);
        job.complete();
    }

    fn write_part(&mut self, job: &JobWriter, at: usize, part: &Part, tokens: &[TokenLogprob]) {
        let id;
        let mut delta = Delta::default();
        match part {
            Part::Said(Piece::Text(text)) => {
                let unsent = self.voices[at].unsent(text);
                if text.is_empty() || !unsent.is_empty() {
                    self.write_text(job, at, unsent, tokens);
                }
                return;
            }
            Part::Thought(text) => delta.reasoning_content = Some(text),
            Part::Said(Piece::Call { index, name }) => {
                id = self.voices[at].reader.call_id();
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
        let logprobs = self.voices[at].logprobs(self.kind, "", tokens);
        self.write(job, at, Content::Delta(delta), logprobs, None);
    }

    fn write_text(&mut self, job: &JobWriter, at: usize, text: &str, tokens: &[TokenLogprob]) {
        if tokens.is_empty() && self.voices[at].plain.is_none() {
            self.voices[at].plain = self.plain(at);
        }
        if let (Some(plain), []) = (&self.voices[at].plain, tokens) {
            job.emit(None, plain.with(text));
            return;
        }
        let logprobs = self.voices[at].logprobs(self.kind, text, tokens);
        self.write(job, at, self.text(text), logprobs, None);
    }

    /// The chunks of a choice that have nothing but text.
    fn plain(&self, at: usize) -> Option<PlainChunks> {
        let choice = choice(at, self.text(plain::TEXT), None);
        PlainChunks::like(&self.chunk(std::slice::from_ref(&choice)))
    }

    fn text<'t>(&self, text: &'t str) -> Content<'t> {
        match self.kind {
            Kind::Chat => Content::Delta(Delta { content: Some(text), ..Delta::default() }),
            Kind::Completion => Content::Text(text),
        }
    }

    fn write_end(&self, job: &JobWriter, at: usize, finish: &Finish) {
        let content = match self.kind {
            Kind::Chat => Content::Delta(Delta::default()),
            Kind::Completion => Content::Text(""),
        };
        self.write(job, at, content, None, Some(finish));
    }

    fn write(
        &self,
        job: &JobWriter,
        at: usize,
        content: Content<'_>,
        logprobs: Option<Logprobs>,
        finish: Option<&Finish>,
    ) {
        let calls = self.voices[at].reader.has_calls();
        let choice = Choice {
            finish_reason: finish.map(|finish| wire::finish_reason(finish, calls)),
            stop_reason: finish.and_then(|finish| finish.stop.clone()),
            ..choice(at, content, logprobs)
        };
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
            usage: self.include_usage.then_some(None),
            timings: None,
        }
    }
}

/// A choice that goes on.
fn choice(at: usize, content: Content<'_>, logprobs: Option<Logprobs>) -> Choice<'_> {
    let index = u32::try_from(at).unwrap_or(u32::MAX);
    Choice { index, content, logprobs, finish_reason: None, stop_reason: None }
}

fn send(job: &JobWriter, chunk: &Chunk<'_>) {
    match StreamEvent::chunk(chunk) {
        Ok(chunk) => drop(job.send(chunk)),
        Err(error) => tracing::error!(%error, "cannot write a chunk"),
    }
}
