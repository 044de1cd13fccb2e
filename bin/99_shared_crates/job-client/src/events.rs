use std::{fmt, pin::Pin};

use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures::{Stream, StreamExt as _};
use rbee_api::{Malformed, StreamEvent, causes, event};
use reqwest::{Response, header::CONTENT_TYPE};

/// An event with the number that `Last-Event-ID` knows it by.
#[derive(Debug)]
pub struct Received {
    pub id: Option<u64>,
    pub event: StreamEvent,
}

/// The events of one HTTP response, until it ends or breaks.
pub struct EventStream {
    frames: Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Send>>,
}

/// Why a stream gave no further event.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the stream ended before its end was sent")]
    Closed,
    #[error("the connection broke")]
    Transport(#[source] EventStreamError<reqwest::Error>),
    /// The answer depends on an event that cannot be read.
    #[error(transparent)]
    Malformed(Malformed),
}

impl EventStream {
    /// Whether the response is one; any other has its answer for a body.
    pub fn is_one(response: &Response) -> bool {
        let content_type = response.headers().get(CONTENT_TYPE);
        content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
    }

    pub fn new(response: Response) -> Self {
        Self { frames: Box::pin(response.bytes_stream().eventsource()) }
    }

    /// The next event. Those whose name this version does not know are passed over, and so are those
    /// that cannot be read and that only tell about the work.
    ///
    /// # Errors
    ///
    /// [`Broken`]; nothing more comes of this response then.
    pub async fn next(&mut self) -> Result<Received, Broken> {
        loop {
            let frame = match self.frames.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(source)) => return Err(Broken::Transport(source)),
                None => return Err(Broken::Closed),
            };
            let id = frame.id.parse().ok();
            match StreamEvent::decode(&frame.event, frame.data) {
                Ok(Some(event)) => return Ok(Received { id, event }),
                Ok(None) => {}
                Err(error) if matters(error.name) => return Err(Broken::Malformed(error)),
                Err(error) => tracing::warn!(error = causes(&error), "an event is passed over"),
            }
        }
    }
}

/// Whether the answer depends on the event of that name; the others only tell about it.
fn matters(name: &str) -> bool {
    matches!(name, event::RESULT | event::ERROR | event::END)
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}
