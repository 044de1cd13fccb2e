use eventsource_stream::{Event, Eventsource as _};
use futures::{StreamExt as _, TryStreamExt as _};
use job_server::JobWriter;
use rbee_api::{
    EVENT_END, EVENT_ERROR, EVENT_ORIGIN, EVENT_RESULT, ErrorBody, HEADER_JOB, Origin, event_name,
};

use crate::{
    refusal::causes,
    transfer::{Departure, Reply},
};

/// OpenAI's last frame.
const DONE: &str = "[DONE]";

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
                ErrorBody::new(502, "server_error", "upstream_lost", format!("{what}: {why}"))
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
    answer.job.emit(Some(EVENT_RESULT), body);
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
        match name.as_str() {
            EVENT_ERROR => return Err(Failure::Refused(error_body(500, data.as_bytes()))),
            EVENT_END => return Ok(None),
            EVENT_ORIGIN => {
                if let Some(upstream) = upstream {
                    upstream.origin = serde_json::from_str(&data).ok();
                }
            }
            "message" => {
                let done = data == DONE;
                if let Some(upstream) = upstream {
                    let before = upstream.last_event_id.saturating_sub(1);
                    if told != Some(before) {
                        let origin = Origin { last_event_id: before, ..upstream.clone() };
                        let data = serde_json::to_vec(&origin);
                        let data = data.expect("it holds only strings and numbers");
                        job.emit(Some(EVENT_ORIGIN), data);
                    }
                    told = Some(upstream.last_event_id);
                    if let Some(origin) = &mut upstream.origin {
                        origin.advance();
                    }
                }
                job.emit(None, data);
                *answered = true;
                if done {
                    return Ok(None);
                }
            }
            name => {
                // A second one would follow if it were asked for anew.
                *answered |= name == EVENT_RESULT;
                if let Some(name) = event_name(name) {
                    job.emit(Some(name), data);
                }
            }
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
