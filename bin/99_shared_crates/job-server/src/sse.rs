//! A job's events as server-sent events.

use std::{
    num::ParseIntError,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::Stream;
use http_guard::ApiError;
use rbee_api::{ErrorBody, ErrorCode, HEADER_OWNER, JobEnd, StreamEvent, event};
use tokio::time::{Instant, Sleep};

use crate::{
    event::{End, Event, JobState},
    server::Error,
    subscription::Subscription,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const OWNER: HeaderName = HeaderName::from_static(HEADER_OWNER);
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A comment, which readers skip.
const KEEP_ALIVE_FRAME: Bytes = Bytes::from_static(b":\n\n");

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
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let frames = Frames {
        keep_alive: options.keep_alive.map(KeepAlive::new),
        subscription,
        options,
        ending: Ending::Open,
    };
    (headers, Body::from_stream(frames)).into_response()
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

/// Why a body stops before its end.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the job did not complete")]
    NotCompleted,
    #[error("the client was too slow")]
    Overtaken(#[source] Error),
}

#[derive(Debug)]
struct Frames {
    subscription: Subscription,
    options: SseOptions,
    keep_alive: Option<KeepAlive>,
    ending: Ending,
}

#[derive(Debug)]
enum Ending {
    Open,
    /// The last frame was given to the connection, which writes it when it has nothing else to
    /// do; an error at once would overtake it.
    Flush(Cut),
    Cut(Cut),
    Done,
}

#[derive(Debug)]
struct KeepAlive {
    period: Duration,
    /// Moved only when it fires: moving it for every token would cost more than the token.
    timer: Pin<Box<Sleep>>,
    last_frame: Instant,
}

impl Stream for Frames {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.ending, Ending::Done) {
                Ending::Open => this.ending = Ending::Open,
                Ending::Flush(cut) => {
                    this.ending = Ending::Cut(cut);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ending::Cut(cut) => return Poll::Ready(Some(Err(cut))),
                Ending::Done => return Poll::Ready(None),
            }
            let Poll::Ready(item) = Pin::new(&mut this.subscription).poll_next(cx) else { break };
            let frame = match item {
                Some(Ok(event)) => this.frame(&event),
                Some(Err(lost)) => Some(this.overtaken(lost)),
                None => this.end(),
            };
            if let Some(frame) = frame {
                if let Some(keep_alive) = &mut this.keep_alive {
                    keep_alive.last_frame = Instant::now();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        match &mut this.keep_alive {
            Some(keep_alive) => keep_alive.poll(cx).map(|()| Some(Ok(KEEP_ALIVE_FRAME))),
            None => Poll::Pending,
        }
    }
}

impl Frames {
    /// The event as this client is sent it, if at all.
    fn frame(&self, event: &Event) -> Option<Bytes> {
        let SseOptions { named_events, ids, .. } = self.options;
        match event.name {
            name if named_events => Some(encode(ids.then_some(event.id), name, &event.data)),
            None | Some(event::ERROR) => Some(encode(None, None, &event.data)),
            Some(_) => None,
        }
    }

    /// What a client is told whose next event has been dropped.
    fn overtaken(&mut self, lost: Error) -> Bytes {
        let body = ErrorBody::new(ErrorCode::EventsGone, lost.to_string());
        self.ending = Ending::Flush(Cut::Overtaken(lost));
        let (name, data) = StreamEvent::Error(body).encode();
        encode(None, name.filter(|_| self.options.named_events), data.as_bytes())
    }

    /// The last frame, if there is one, and what is to follow it.
    fn end(&mut self) -> Option<Bytes> {
        self.ending = Ending::Done;
        let End { id, state } = self.subscription.end()?;
        if self.options.named_events && *state == JobState::Moved {
            // The client asks again behind the last id that it saw, and finds the job elsewhere.
            return None;
        }
        if self.options.named_events {
            let (name, data) = StreamEvent::End(JobEnd { state: state.into() }).encode();
            return Some(encode(self.options.ids.then_some(*id), name, data.as_bytes()));
        }
        if *state != JobState::Completed {
            self.ending = Ending::Flush(Cut::NotCompleted);
        }
        None
    }
}

impl KeepAlive {
    fn new(period: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(period));
        Self { period, timer, last_frame: Instant::now() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let silent = now >= self.last_frame + self.period;
            if silent {
                self.last_frame = now;
            }
            self.timer.as_mut().reset(self.last_frame + self.period);
            if silent {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
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
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
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
