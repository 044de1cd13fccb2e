use std::{fmt, pin::Pin};

use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures::{Stream, StreamExt as _};
use rbee_api::{Malformed, StreamEvent};
use reqwest::Response;

/// An event with the number that `Last-Event-ID` knows it by.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) id: Option<u64>,
    pub(crate) event: StreamEvent,
}

/// The events of one HTTP response, until it ends or breaks.
pub(crate) struct EventStream {
    frames: Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<reqwest::Error>>> + Send>>,
}

/// Why a stream gave no further event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke")]
    Transport(#[source] EventStreamError<reqwest::Error>),
}

impl EventStream {
    pub(crate) fn new(response: Response) -> Self {
        Self { frames: Box::pin(response.bytes_stream().eventsource()) }
    }

    /// The next event; events of names that this keeper does not know are passed over.
    pub(crate) async fn next(&mut self) -> Result<Result<Received, Malformed>, Broken> {
        loop {
            let frame = match self.frames.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(source)) => return Err(Broken::Transport(source)),
                None => return Err(Broken::Closed),
            };
            let id = frame.id.parse().ok();
            match StreamEvent::decode(&frame.event, frame.data) {
                Ok(Some(event)) => return Ok(Ok(Received { id, event })),
                Ok(None) => {}
                Err(malformed) => return Ok(Err(malformed)),
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}
