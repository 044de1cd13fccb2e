use std::{fmt, pin::Pin};

use eventsource_stream::{Event, EventStreamError, Eventsource as _};
use futures::{Stream, StreamExt as _};
use narration_core::Narration;
use rbee_api::{
    EVENT_END, EVENT_ERROR, EVENT_NARRATION, EVENT_ORIGIN, EVENT_PROGRESS, EVENT_RESULT, ErrorBody,
    ErrorDetail, JobEnd, Origin, Progress,
};
use reqwest::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What the data of the last OpenAI frame is.
const DONE: &str = "[DONE]";

/// One event of a job.
#[derive(Debug)]
pub(crate) enum JobEvent {
    /// A chunk of a language model's answer, as OpenAI writes it.
    Chunk(String),
    /// The last chunk has been sent.
    Done,
    Narration(Narration),
    Progress(Progress),
    /// Where the next chunk comes from.
    Origin(Origin),
    Result(Value),
    Error(Box<ErrorDetail>),
    End(JobEnd),
}

/// An event with the number that `Last-Event-ID` knows it by.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) id: Option<u64>,
    pub(crate) event: JobEvent,
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

/// What is in the stream is not what rbee sends.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the event `{name}` of the queen's stream")]
pub(crate) struct Malformed {
    name: String,
    source: serde_json::Error,
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
            match decode(&frame) {
                Ok(Some(event)) => return Ok(Ok(Received { id, event })),
                Ok(None) => {}
                Err(source) => return Ok(Err(Malformed { name: frame.event, source })),
            }
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

fn decode(frame: &Event) -> Result<Option<JobEvent>, serde_json::Error> {
    Ok(Some(match frame.event.as_str() {
        "message" if frame.data == DONE => JobEvent::Done,
        "message" => JobEvent::Chunk(frame.data.clone()),
        EVENT_NARRATION => JobEvent::Narration(data(frame)?),
        EVENT_PROGRESS => JobEvent::Progress(data(frame)?),
        EVENT_ORIGIN => JobEvent::Origin(data(frame)?),
        EVENT_RESULT => JobEvent::Result(data(frame)?),
        EVENT_ERROR => JobEvent::Error(Box::new(data::<ErrorBody>(frame)?.error)),
        EVENT_END => JobEvent::End(data(frame)?),
        _ => return Ok(None),
    }))
}

fn data<T: DeserializeOwned>(frame: &Event) -> Result<T, serde_json::Error> {
    serde_json::from_str(&frame.data)
}
