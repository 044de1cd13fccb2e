use bytes::Bytes;
use eventsource_stream::{Event, Eventsource as _};
use futures::{StreamExt as _, TryStreamExt as _};
use job_server::JobWriter;
use rbee_api::{EVENT_END, EVENT_ERROR, EVENT_NARRATION, EVENT_PROGRESS, EVENT_RESULT, ErrorBody};

use crate::refusal::causes;

/// OpenAI's last frame.
const DONE: &str = "[DONE]";

/// Why a response did not reach its end.
#[derive(Debug)]
pub enum Failure {
    /// The next level did not answer, or stopped in the middle.
    Broken {
        why: String,
        /// Whether a part of the answer is in the job already, so that a second attempt would
        /// repeat it.
        answered: bool,
    },
    /// The next level answered with an error.
    Refused(ErrorBody),
}

impl Failure {
    /// The client's view of it.
    pub fn into_body(self) -> ErrorBody {
        match self {
            Self::Refused(body) => body,
            Self::Broken { why, answered } => {
                let what = if answered {
                    "the answer was cut off"
                } else {
                    "the request was not answered"
                };
                ErrorBody::new(502, "server_error", "upstream_lost", format!("{what}: {why}"))
            }
        }
    }
}

/// Sends `request` and passes what comes back into `job`, event by event, as it comes.
///
/// A response that is not a stream becomes one `result` event. Dropping the future drops the
/// connection, which is how the next level learns that nobody wants the rest.
///
/// # Errors
///
/// See [`Failure`]. The job is not ended here, and an error is not put into it.
pub async fn relay(request: reqwest::RequestBuilder, job: &JobWriter) -> Result<(), Failure> {
    let broken = |error: reqwest::Error| Failure::Broken { why: causes(&error), answered: false };
    let response = request.send().await.map_err(broken)?;
    let status = response.status();
    if !status.is_success() {
        let body = response.bytes().await.map_err(broken)?;
        return Err(Failure::Refused(error_body(status.as_u16(), &body)));
    }
    if is_event_stream(&response) {
        return relay_events(response, job).await;
    }
    let body = response.bytes().await.map_err(broken)?;
    job.emit(Some(EVENT_RESULT), body);
    Ok(())
}

async fn relay_events(response: reqwest::Response, job: &JobWriter) -> Result<(), Failure> {
    let mut events = response.bytes_stream().map_err(|error| causes(&error)).eventsource();
    let mut answered = false;
    while let Some(event) = events.next().await {
        let Event { event: name, data, .. } =
            event.map_err(|error| Failure::Broken { why: error.to_string(), answered })?;
        match name.as_str() {
            EVENT_NARRATION => drop(job.emit(Some(EVENT_NARRATION), data)),
            EVENT_PROGRESS => drop(job.emit(Some(EVENT_PROGRESS), data)),
            EVENT_RESULT => drop(job.emit(Some(EVENT_RESULT), data)),
            EVENT_ERROR => return Err(Failure::Refused(error_body(500, data.as_bytes()))),
            EVENT_END => return Ok(()),
            _ => {
                let done = data == DONE;
                job.emit(None, data);
                answered = true;
                if done {
                    return Ok(());
                }
            }
        }
    }
    Err(Failure::Broken { why: "the stream ended before its end was sent".to_owned(), answered })
}

fn is_event_stream(response: &reqwest::Response) -> bool {
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}

/// The error that the next level sent, whose status is `status` unless it names another.
fn error_body(status: u16, body: &[u8]) -> ErrorBody {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(mut body) => {
            body.error.status.get_or_insert(status);
            body
        }
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(400)]).into_owned();
            ErrorBody::new(502, "server_error", "bad_gateway", format!("unreadable error: {text}"))
        }
    }
}

/// The JSON of an error, for an `error` event.
pub(crate) fn error_data(body: &ErrorBody) -> Bytes {
    Bytes::from(serde_json::to_vec(body).expect("an error body holds only strings and numbers"))
}
