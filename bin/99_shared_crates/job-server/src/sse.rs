//! A job's events as server-sent events.

use std::{num::ParseIntError, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName},
    response::Response,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_guard::ApiError;
use memchr::memchr2;
use rbee_api::{ErrorBody, ErrorCode, HEADER_OWNER, JobEnd, StreamEvent, event};

use crate::{
    event::{End, Event, JobState},
    frames::{Encoder, Ends, frames_response, streamed},
    subscription::Subscription,
};

const CONTENT_TYPE: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const OWNER: HeaderName = HeaderName::from_static(HEADER_OWNER);
/// How long a stream may be silent.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A comment, which readers skip.
pub const KEEP_ALIVE_FRAME: Bytes = Bytes::from_static(b":\n\n");

/// What a client is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseOptions {
    /// Send named events, and `end` as the last.
    pub named_events: bool,
    /// Send the ids that `Last-Event-ID` takes; only together with `named_events`, since a client
    /// that is not sent every event cannot tell a gap from a loss.
    pub ids: bool,
    /// Send a comment after so long without an event.
    pub keep_alive: Option<Duration>,
}

impl SseOptions {
    /// Everything: for clients that know rbee.
    pub fn named() -> Self {
        Self { named_events: true, ids: true, keep_alive: Some(KEEP_ALIVE) }
    }

    /// OpenAI's stream to the letter: only unnamed events, and an error as an unnamed event too.
    pub fn openai() -> Self {
        Self { named_events: false, ids: false, keep_alive: Some(KEEP_ALIVE) }
    }
}

/// Streams a job's events, each as one frame and as soon as it is there.
///
/// With `named_events` the last is `end`, whose data is a [`JobEnd`]; a body that is over without it
/// belongs to a job that goes on elsewhere. Otherwise the body is cut off where the job did not
/// complete, so that nobody takes half an answer for a whole one; so it is in both where the log has
/// overtaken the client.
pub fn sse_response(subscription: Subscription, options: SseOptions) -> Response {
    frames_response(subscription, CONTENT_TYPE, options)
}

/// Events that are no job's, as a response.
pub fn events_response(events: Body) -> Response {
    streamed(CONTENT_TYPE, events)
}

/// The id of the last event that a client has seen, from its `Last-Event-ID` header.
pub fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, BadHeader> {
    number(headers, &LAST_EVENT_ID)
        .map_err(|(text, source)| BadHeader::LastEventId { text, source })
}

/// Which owner of a job asks, from its [`HEADER_OWNER`] header.
pub fn owner(headers: &HeaderMap) -> Result<Option<u64>, BadHeader> {
    number(headers, &OWNER).map_err(|(text, source)| BadHeader::Owner { text, source })
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, (String, ParseIntError)> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    match text.trim() {
        // What a browser sends when the server has reset the id.
        "" => Ok(None),
        digits => digits.parse().map(Some).map_err(|source| (digits.to_owned(), source)),
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("`{text}` in `Last-Event-ID` is not the id of an event")]
    LastEventId { text: String, source: ParseIntError },
    #[error("`{text}` in `{HEADER_OWNER}` is not the number of an owner")]
    Owner { text: String, source: ParseIntError },
}

impl From<BadHeader> for ApiError {
    fn from(error: BadHeader) -> Self {
        let code = match error {
            BadHeader::LastEventId { .. } => ErrorCode::InvalidLastEventId,
            BadHeader::Owner { .. } => ErrorCode::InvalidValue,
        };
        Self::new(code, error.to_string())
    }
}

impl Encoder for SseOptions {
    fn event(&mut self, event: &Event) -> Option<Bytes> {
        match event.name {
            name if self.named_events => {
                Some(encode(self.ids.then_some(event.id), name, &event.data))
            }
            None | Some(event::ERROR) => Some(encode(None, None, &event.data)),
            Some(_) => None,
        }
    }

    fn overtaken(&mut self, error: ErrorBody) -> Option<Bytes> {
        let (name, data) = StreamEvent::Error(error).encode();
        Some(encode(None, name.filter(|_| self.named_events), data.as_bytes()))
    }

    fn end(&mut self, End { id, state }: &End) -> (Option<Bytes>, Ends) {
        if self.named_events && *state == JobState::Moved {
            // The client asks again behind the last id that it saw, and finds the job elsewhere.
            return (None, Ends::Whole);
        }
        if self.named_events {
            let (name, data) = StreamEvent::End(JobEnd { state: state.into() }).encode();
            return (Some(encode(self.ids.then_some(*id), name, data.as_bytes())), Ends::Whole);
        }
        match state {
            JobState::Completed => (None, Ends::Whole),
            _ => (None, Ends::CutOff),
        }
    }

    fn keep_alive(&self) -> Option<(Duration, Bytes)> {
        Some((self.keep_alive?, KEEP_ALIVE_FRAME))
    }
}

/// One event without an id; `data` has no line breaks.
pub fn frame(name: &'static str, data: &[u8]) -> Bytes {
    encode(None, Some(name), data)
}

fn encode(id: Option<u64>, name: Option<&str>, data: &[u8]) -> Bytes {
    // Room for the field names, an id and one line.
    let mut frame = BytesMut::with_capacity(data.len() + name.map_or(0, str::len) + 48);
    if let Some(id) = id {
        frame.put_slice(b"id: ");
        frame.put_slice(id.to_string().as_bytes());
        frame.put_u8(b'\n');
    }
    if let Some(name) = name {
        frame.put_slice(b"event: ");
        frame.put_slice(name.as_bytes());
        frame.put_u8(b'\n');
    }
    let mut rest = data;
    loop {
        frame.put_slice(b"data: ");
        let Some(end) = memchr2(b'\n', b'\r', rest) else {
            frame.put_slice(rest);
            frame.put_slice(b"\n\n");
            return frame.freeze();
        };
        frame.put_slice(&rest[..end]);
        frame.put_u8(b'\n');
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(crlf)..];
    }
}
