use eventsource_stream::{Event, Eventsource as _};
use futures::{StreamExt as _, TryStreamExt as _};
use job_server::JobWriter;
use rbee_api::{
    ErrorBody, ErrorCode, HEADER_JOB, JobEnd, JobState, Origin, StreamEvent, causes, event,
};

use crate::transfer::{Departure, Reply};

/// Where a response goes.
pub(crate) struct Answer<'a> {
    pub(crate) job: &'a JobWriter,
    /// Who answers.
    pub(crate) at: String,
    /// Where somebody may ask that the rest be relayed by another process.
    pub(crate) departure: Option<&'a mut Departure>,
}

/// Why a response did not reach its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The next level did not answer, or stopped in the middle.
    Broken { why: String },
    /// The next level answered with an error.
    Refused(ErrorBody),
}

impl Failure {
    /// The client's view of it.
    pub(crate) fn into_body(self, answered: bool) -> ErrorBody {
        match self {
            Self::Refused(body) => body,
            Self::Broken { why } => {
                let what = if answered {
                    "the answer was cut off"
                } else {
                    "the request was not answered"
                };
                ErrorBody::new(ErrorCode::UpstreamLost, format!("{what}: {why}"))
            }
        }
    }
}

/// Sends `request` and passes what comes back into the job, event by event, as it comes.
///
/// A response that is not a stream becomes one `result` event. `upstream` becomes the next level's
/// job once it is known, and follows the events; `answered` becomes true with the first chunk.
/// Dropping the future drops the connection, which is how the next level learns that nobody wants
/// the rest. Returns who wants to go on with the rest, if somebody does.
///
/// # Errors
///
/// See [`Failure`]. The job is not ended here, and an error is not put into it.
pub(crate) async fn relay(
    request: reqwest::RequestBuilder,
    answer: Answer<'_>,
    upstream: &mut Option<Origin>,
    answered: &mut bool,
) -> Result<Option<(Reply, Origin)>, Failure> {
    let broken = |error: reqwest::Error| Failure::Broken { why: causes(&error) };
    let response = request.send().await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        let body = response.bytes().await.map_err(broken)?;
        return Err(Failure::Refused(error_body(status.as_u16(), &body)));
    }
    if is_event_stream(&response) {
        if upstream.is_none() {
            let job = response.headers().get(HEADER_JOB).and_then(|id| id.to_str().ok());
            *upstream = job.map(|id| Origin {
                at: answer.at.clone(),
                job_id: id.to_owned(),
                last_event_id: 0,
                origin: None,
            });
        }
        return relay_events(response, answer, upstream, answered).await;
    }
    let body = response.bytes().await.map_err(broken)?;
    answer.job.emit(Some(event::RESULT), body);
    Ok(None)
}

async fn relay_events(
    response: reqwest::Response,
    Answer { job, mut departure, .. }: Answer<'_>,
    upstream: &mut Option<Origin>,
    answered: &mut bool,
) -> Result<Option<(Reply, Origin)>, Failure> {
    let mut events = response.bytes_stream().map_err(|error| causes(&error)).eventsource();
    // Where whoever reads ours takes the next chunk to come from.
    let mut told = None;
    loop {
        let event = match (&*upstream, departure.as_deref_mut()) {
            (Some(known), Some(departure)) => tokio::select! {
                biased;
                reply = departure.asked() => return Ok(Some((reply, known.clone()))),
                event = events.next() => event,
            },
            _ => events.next().await,
        };
        let Some(event) = event else {
            return Err(Failure::Broken {
                why: "the stream ended before its end was sent".to_owned(),
            });
        };
        let Event { event: name, data, id, .. } =
            event.map_err(|error| Failure::Broken { why: error.to_string() })?;
        if let (Some(upstream), Ok(id)) = (&mut *upstream, id.parse()) {
            upstream.last_event_id = id;
        }
        let event = match StreamEvent::decode(&name, data) {
            Ok(Some(event)) => event,
            // A name of another version: whoever reads ours would not know it either.
            Ok(None) => continue,
            Err(error) if matters(error.name) => {
                let body = ErrorBody::new(ErrorCode::BadGateway, causes(&error));
                return Err(Failure::Refused(body));
            }
            Err(error) => {
                tracing::warn!(error = causes(&error), "an event is passed over");
                continue;
            }
        };
        match event {
            StreamEvent::Error(body) => return Err(Failure::Refused(with_status(body, 500))),
            StreamEvent::End(JobEnd { state }) => return ended(state, *answered),
            StreamEvent::Origin(origin) => {
                if let Some(upstream) = upstream {
                    upstream.origin = Some(Box::new(origin));
                }
            }
            event @ (StreamEvent::Chunk(_) | StreamEvent::Done) => {
                let done = matches!(event, StreamEvent::Done);
                if let Some(upstream) = upstream {
                    if let Some(origin) = &mut upstream.origin {
                        origin.advance();
                    }
                    if told != Some(upstream.last_event_id.saturating_sub(1)) {
                        job.send(StreamEvent::Origin(upstream.before_chunk()));
                    }
                    told = Some(upstream.last_event_id);
                }
                job.send(event);
                *answered = true;
                if done {
                    return Ok(None);
                }
            }
            event @ (StreamEvent::Narration(_) | StreamEvent::Progress(_)) => {
                job.send(event);
            }
            event @ StreamEvent::Result(_) => {
                // A second one would follow if it were asked for anew.
                *answered = true;
                job.send(event);
            }
        }
    }
}

/// Whether the answer depends on the event of that name; the others only tell about it.
fn matters(name: &str) -> bool {
    matches!(name, event::RESULT | event::ERROR | event::END)
}

/// What the end of the next level's job means for an answer whose last part has not come.
fn ended(state: JobState, answered: bool) -> Result<Option<(Reply, Origin)>, Failure> {
    let refused = |code, why: &str| {
        let what = if answered { "the answer was cut off" } else { "there is no answer" };
        Err(Failure::Refused(ErrorBody::new(code, format!("{what}: {why}"))))
    };
    match state {
        JobState::Completed => Ok(None),
        JobState::Cancelled => {
            refused(ErrorCode::Cancelled, "the job was cancelled at the next level")
        }
        JobState::Failed => {
            refused(ErrorCode::UpstreamLost, "the next level's job failed and gave no reason")
        }
        JobState::Running => {
            Err(Failure::Broken { why: "the next level's job goes on elsewhere".to_owned() })
        }
    }
}

fn is_event_stream(response: &reqwest::Response) -> bool {
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// The error that the next level sent, whose status is `status` unless it names another.
fn error_body(status: u16, body: &[u8]) -> ErrorBody {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => with_status(body, status),
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
            ErrorBody::new(ErrorCode::BadGateway, format!("unreadable error: {text}"))
        }
    }
}

fn with_status(mut body: ErrorBody, status: u16) -> ErrorBody {
    body.error.status.get_or_insert(status);
    body
}
