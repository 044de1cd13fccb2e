//! Events to a response, whole or streamed.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures::{Stream, stream};
use rbee_api::EVENT_ERROR;
use serde::Serialize;
use tokio::{sync::mpsc, time::timeout};

use super::{
    error::ApiError,
    now,
    params::Params,
    wire::{self, Choice, Chunk, Content, Delta, Message},
};
use crate::{
    engine::{Event, Finish, TokenLogprob},
    lease::Hold,
};

/// How long a failure before the first token is answered by a status of its own. After that the
/// stream begins without one, so that nobody on the way takes the worker for dead.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// A comment is sent after this long without a token.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING: &[u8] = b": waiting\n\n";
const DONE: &[u8] = b"data: [DONE]\n\n";
const FINGERPRINT: &str = concat!("rbee-", env!("CARGO_PKG_VERSION"));

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
    events: mpsc::Receiver<Event>,
    /// Characters sent so far.
    sent: usize,
    include_usage: bool,
    _hold: Hold,
}

impl Answer {
    pub(super) fn new(kind: Kind, model: &str, events: mpsc::Receiver<Event>, hold: Hold) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        Self {
            kind,
            id: format!("{prefix}-{}", uuid::Uuid::now_v7().simple()),
            created: now(),
            model: model.to_owned(),
            events,
            sent: 0,
            include_usage: false,
            _hold: hold,
        }
    }

    pub(super) async fn respond(mut self, params: &Params) -> Result<Response, ApiError> {
        if !params.stream {
            return self.collect().await;
        }
        self.include_usage = params.include_usage;
        let first = match timeout(HEADERS_WITHIN, self.next()).await {
            Ok(Event::Failed(reason)) => return Err(ApiError::engine(reason)),
            Ok(event) => Some(event),
            Err(_) => None,
        };
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-cache"),
            // For proxies that would collect the tokens.
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        Ok((headers, Body::from_stream(self.frames(first))).into_response())
    }

    /// The next event; a channel that closes without an end means that the engine died.
    async fn next(&mut self) -> Event {
        self.events
            .recv()
            .await
            .unwrap_or_else(|| Event::Failed("the engine has stopped".to_owned()))
    }

    async fn collect(mut self) -> Result<Response, ApiError> {
        let (mut text, mut tokens) = (String::new(), Vec::new());
        let finish = loop {
            match self.next().await {
                Event::Text { text: more, logprobs } => {
                    text.push_str(&more);
                    tokens.extend(logprobs);
                }
                Event::End(finish) => break finish,
                Event::Failed(reason) => return Err(ApiError::engine(reason)),
            }
        };
        let content = match self.kind {
            Kind::Chat => {
                Content::Message(Message { role: "assistant", content: &text, refusal: None })
            }
            Kind::Completion => Content::Text(&text),
        };
        let logprobs = (!tokens.is_empty()).then(|| wire::logprobs(self.kind, &tokens, 0));
        let choice = Choice {
            index: 0,
            content,
            logprobs,
            finish_reason: Some(wire::finish_reason(&finish)),
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

    /// One piece of bytes for each event: nothing is collected and nothing waits.
    fn frames(self, first: Option<Event>) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold((Some(self), first, true), |(answer, event, opening)| async move {
            let mut answer = answer?;
            let event = match event {
                Some(event) => event,
                None => match timeout(PING_EVERY, answer.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        return Some((Ok(Bytes::from_static(PING)), (Some(answer), None, opening)));
                    }
                },
            };
            let mut frame = Vec::new();
            if opening && answer.kind == Kind::Chat {
                let delta = Delta { role: Some("assistant"), content: Some("") };
                answer.write(&mut frame, Content::Delta(delta), None, None);
            }
            let ends = match event {
                Event::Text { text, logprobs } => {
                    answer.write_text(&mut frame, &text, &logprobs);
                    false
                }
                Event::End(finish) => {
                    answer.write_end(&mut frame, &finish);
                    true
                }
                Event::Failed(reason) => {
                    frame.extend_from_slice(b"event: ");
                    frame.extend_from_slice(EVENT_ERROR.as_bytes());
                    frame.push(b'\n');
                    data(&mut frame, &ApiError::engine(reason).into_body());
                    true
                }
            };
            Some((Ok(Bytes::from(frame)), ((!ends).then_some(answer), None, false)))
        })
    }

    fn write_text(&mut self, frame: &mut Vec<u8>, text: &str, tokens: &[TokenLogprob]) {
        let logprobs = (!tokens.is_empty()).then(|| wire::logprobs(self.kind, tokens, self.sent));
        if !tokens.is_empty() {
            self.sent += text.chars().count();
        }
        let content = match self.kind {
            Kind::Chat => Content::Delta(Delta { role: None, content: Some(text) }),
            Kind::Completion => Content::Text(text),
        };
        self.write(frame, content, logprobs, None);
    }

    fn write_end(&self, frame: &mut Vec<u8>, finish: &Finish) {
        let content = match self.kind {
            Kind::Chat => Content::Delta(Delta { role: None, content: None }),
            Kind::Completion => Content::Text(""),
        };
        self.write(frame, content, None, Some(finish));
        if self.include_usage {
            let mut chunk = self.chunk(&[]);
            chunk.usage = Some(wire::usage(&finish.usage));
            data(frame, &chunk);
        }
        frame.extend_from_slice(DONE);
    }

    fn write(
        &self,
        frame: &mut Vec<u8>,
        content: Content<'_>,
        logprobs: Option<serde_json::Value>,
        finish: Option<&Finish>,
    ) {
        let finish_reason = finish.map(wire::finish_reason);
        let choice = Choice { index: 0, content, logprobs, finish_reason };
        let mut chunk = self.chunk(std::slice::from_ref(&choice));
        chunk.timings = finish.map(|finish| wire::timings(&finish.usage));
        data(frame, &chunk);
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
            system_fingerprint: FINGERPRINT,
            choices,
            usage: None,
            timings: None,
        }
    }
}

/// Appends one `data:` frame. JSON has no line breaks of its own, so one line is enough.
fn data(frame: &mut Vec<u8>, value: &impl Serialize) {
    frame.extend_from_slice(b"data: ");
    if let Err(error) = serde_json::to_writer(&mut *frame, value) {
        tracing::error!(%error, "cannot write a frame");
    }
    frame.extend_from_slice(b"\n\n");
}
