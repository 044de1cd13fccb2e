use job_client::{Broken, EventStream, Reading, Taken, Unfinished};
use job_server::JobWriter;
use rbee_api::{
    ErrorBody, ErrorCode, HEADER_IGNORED, HEADER_JOB, Origin, StreamEvent, causes, event,
};
use reqwest::Response;

use crate::{
    metrics::Measured,
    transfer::{Departure, Reply, Transfer},
};

/// Where a response goes.
pub(crate) struct Answer<'a> {
    pub(crate) job: &'a JobWriter,
    /// Who answers.
    pub(crate) at: String,
    /// Where somebody may ask that the rest be relayed by another process.
    pub(crate) departure: Option<&'a mut Departure>,
    /// Counts what comes, where it is a request's.
    pub(crate) measured: Option<&'a mut Measured>,
    /// Told of each event that comes.
    pub(crate) heard: &'a (dyn Fn() + Send + Sync),
}

/// Why a response did not reach its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The next level did not answer, or stopped in the middle.
    Broken { why: String },
    /// There is nobody at the next level to be asked.
    Unreached { why: String },
    /// The next level answered with an error.
    Refused(ErrorBody),
}

impl Failure {
    pub(crate) fn broken(error: &reqwest::Error) -> Self {
        let why = causes(error);
        if error.is_connect() { Self::Unreached { why } } else { Self::Broken { why } }
    }

    /// Why, if whoever was asked may have ended because of that. One that was not reached may have where
    /// requests are `tried` again beside one another: another one of them has ended it.
    pub(crate) fn of_process(&self, tried: bool) -> Option<String> {
        match self {
            Self::Broken { why } => Some(why.clone()),
            Self::Unreached { why } if tried => Some(why.clone()),
            Self::Unreached { .. } | Self::Refused(_) => None,
        }
    }

    /// The client's view of it.
    pub(crate) fn into_body(self, answered: bool) -> ErrorBody {
        match self {
            Self::Refused(body) => body,
            Self::Broken { why } | Self::Unreached { why } => {
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

/// Passes a response into the job, event by event, as it comes.
///
/// One that is not a stream becomes one `result` event. Dropping the future drops the connection, which
/// is how the next level learns that nobody wants the rest. Returns who wants to go on with the rest, if
/// somebody does.
///
/// # Errors
///
/// See [`Failure`]. The job is not ended here, and an error is not put into it.
pub(crate) async fn relay(
    response: Response,
    answer: Answer<'_>,
    reading: &mut Reading,
) -> Result<Option<(Reply, Origin)>, Failure> {
    if !response.status().is_success() {
        return Err(Failure::Refused(refusal(response).await));
    }
    if let Some(list) = response.headers().get(HEADER_IGNORED).and_then(|list| list.to_str().ok()) {
        answer.job.send(StreamEvent::Ignored(list.to_owned()));
    }
    if EventStream::is_one(&response) {
        let job = response.headers().get(HEADER_JOB).and_then(|id| id.to_str().ok());
        if let Some(id) = job {
            reading.name(&answer.at, id);
        }
        return relay_events(EventStream::new(response), answer, reading).await;
    }
    let body = response.bytes().await.map_err(|error| Failure::broken(&error))?;
    if let Some(measured) = answer.measured {
        measured.whole(&body);
    }
    answer.job.emit(Some(event::RESULT), body);
    Ok(None)
}

async fn relay_events(
    mut events: EventStream,
    Answer { job, mut departure, mut measured, heard, .. }: Answer<'_>,
    reading: &mut Reading,
) -> Result<Option<(Reply, Origin)>, Failure> {
    if !reading.is_answered() {
        note(job, reading, Clone::clone);
    }
    // Where whoever reads ours takes the next chunk to come from.
    let mut told = None;
    loop {
        // Where whoever reads this job is slow, the next level is read as slowly.
        let next = async {
            job.room().await;
            events.next().await
        };
        let received = match (reading.job(), departure.as_deref_mut()) {
            (Some(known), Some(departure)) => tokio::select! {
                biased;
                reply = departure.asked() => return Ok(Some((reply, known.clone()))),
                received = next => received,
            },
            _ => next.await,
        };
        let received = received.map_err(unreadable)?;
        heard();
        let event = match reading.take(received) {
            Taken::Event(StreamEvent::Error(body)) => {
                return Err(Failure::Refused(with_status(body, 500)));
            }
            Taken::Event(event) => event,
            Taken::Noted => continue,
            Taken::Whole => return Ok(None),
            Taken::Unfinished(how) => return Err(unfinished(how, reading.is_answered())),
        };
        if let (StreamEvent::Chunk(_) | StreamEvent::Done, Some(next)) = (&event, reading.job()) {
            if told != Some(next.last_event_id.saturating_sub(1)) {
                note(job, reading, Origin::before_chunk);
                job.send(StreamEvent::Origin(next.before_chunk()));
            }
            told = Some(next.last_event_id);
        }
        if let (StreamEvent::Chunk(chunk), Some(measured)) = (&event, &mut measured) {
            measured.chunk(chunk);
        }
        job.send(event);
        if reading.is_whole() {
            return Ok(None);
        }
    }
}

/// Writes down where the rest comes from, for a process that has to go on with the job in place of this
/// one: nothing of it has come that the job does not have.
fn note(job: &JobWriter, reading: &Reading, upstream: impl FnOnce(&Origin) -> Origin) {
    let Some(known) = reading.job() else { return };
    job.note(|job| {
        let (upstream, unanswered) = (upstream(known), !reading.is_answered());
        serde_json::to_string(&Transfer { job, upstream, asked: None, unanswered }).ok()
    });
}

fn unreadable(broken: Broken) -> Failure {
    match broken {
        Broken::Malformed(error) => {
            Failure::Refused(ErrorBody::new(ErrorCode::BadGateway, causes(&error)))
        }
        Broken::Closed | Broken::Transport(_) => Failure::Broken { why: causes(&broken) },
    }
}

/// The client's view of a job of the next level that ended before its answer was whole.
fn unfinished(how: Unfinished, answered: bool) -> Failure {
    let code = match how {
        Unfinished::Elsewhere => return Failure::Broken { why: how.to_string() },
        Unfinished::Cancelled => ErrorCode::Cancelled,
        Unfinished::Failed => ErrorCode::UpstreamLost,
    };
    let what = if answered { "the answer was cut off" } else { "there is no answer" };
    Failure::Refused(ErrorBody::new(code, format!("{what}: at the next level {how}")))
}

/// The error that the next level sent, with the response's status unless it names another.
pub(crate) async fn refusal(response: Response) -> ErrorBody {
    let status = response.status().as_u16();
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return Failure::broken(&error).into_body(false),
    };
    match serde_json::from_slice::<ErrorBody>(&body) {
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
