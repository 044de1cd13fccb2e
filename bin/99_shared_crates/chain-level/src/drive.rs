use std::time::Duration;

use job_client::{NotRead, Reading, Tries, cancel, read_on};
use job_server::JobWriter;
use rbee_api::{ErrorBody, ErrorCode, Origin};
use reqwest::{RequestBuilder, Response};
use serde_json::value::RawValue;

use crate::{
    Completion, Hold, NextLevel,
    attempt::{Again, Attempt},
    metrics::{Ended, Measured},
    relay::{Answer, Failure, refusal, relay},
    suspect::Suspect,
    transfer::{Asked, Departure, Reply, Transfer},
};

/// A request is sent anew when the process it went to is gone: once for a process that died, once
/// more for a replacement that was under way. Bringing up the next process is the wait.
const TRIES: Tries = Tries::new(&[Duration::ZERO; 2]);

/// How often one request is begun, whatever came of it in between: a request that ends each process
/// that begins it must not go from one to the next for ever.
const BEGINNINGS: usize = 3;

/// What a job is about.
#[derive(Default)]
pub(crate) struct Subject {
    /// The next level's job, where another process of this one's name has begun it.
    pub(crate) from: Option<Left>,
    /// What its client asked, where the answer can be continued.
    pub(crate) asked: Option<Completion>,
    /// Counts what comes of it, where it is a request.
    pub(crate) measured: Option<Measured>,
}

/// What another process has left of a job: where the rest comes from.
pub(crate) struct Left {
    pub(crate) upstream: Origin,
    /// Whether it can be begun anew where that is lost.
    pub(crate) unanswered: bool,
}

/// How relaying came to its end without an error.
enum End {
    Whole,
    /// The job is to go on elsewhere.
    Departs {
        reply: Reply,
        upstream: Origin,
    },
}

/// An answer that was cut off, on its way to a process that goes on with it.
struct Cut {
    completion: Completion,
    delivered: Vec<Box<RawValue>>,
    suspect: Suspect,
}

/// Runs `job` to its end: gets an attempt from `acquire`, relays it, tries again if the process
/// was gone before it had said anything, and goes on with the next level's job if it was gone later; or,
/// if that is gone too, behind what was delivered of the answer.
///
/// A cancelled job drops whatever is under way and ends the next level's job.
pub(crate) async fn drive<N, F>(
    job: JobWriter,
    next: &N,
    mut departure: Departure,
    Subject { from, asked, mut measured }: Subject,
    acquire: impl FnMut(Again) -> F,
) where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Held>, ErrorBody>>,
{
    let mut asked = asked.filter(|_| N::CONTINUES);
    let mut reading = match from {
        Some(Left { upstream, unanswered: true }) => Reading::unanswered(upstream, TRIES),
        Some(Left { upstream, unanswered: false }) => Reading::resumed(upstream, TRIES),
        None => Reading::new(TRIES),
    };
    let end = tokio::select! {
        biased;
        () = job.cancelled() => None,
        end = relayed(
            &job, next, Some(&mut departure), measured.as_mut(), &mut reading, &mut asked, acquire,
        ) => Some(end),
    };
    if let Some(measured) = measured {
        measured.end(&match &end {
            Some(Ok(End::Whole)) => Ended::Completed,
            Some(Ok(End::Departs { .. })) => Ended::Moved,
            Some(Err(body)) => Ended::Failed(body.error.code.clone()),
            None => Ended::Cancelled,
        });
    }
    match end {
        Some(Ok(End::Whole)) => {
            job.complete();
            drop(departure);
            has_read(next, &reading).await;
        }
        Some(Ok(End::Departs { reply, upstream })) => {
            let id = job.id();
            let asked = asked.as_ref().and_then(Asked::of);
            let transfer = Transfer { job: job.depart(), upstream, asked, unanswered: false };
            if reply.send(transfer).is_err() {
                tracing::error!(%id, "whoever asked for the job went away, and it is lost");
            }
        }
        Some(Err(body)) => {
            job.fail_with(body);
            drop(departure);
            has_read(next, &reading).await;
        }
        None => {
            job.cancelled_end();
            if let Some(upstream) = reading.job() {
                cancel(next, upstream).await;
            }
        }
    }
}

/// Says that nothing more is needed of what was read.
async fn has_read<N: NextLevel>(next: &N, reading: &Reading) {
    if let Some(upstream) = reading.job() {
        next.has_read(upstream).await;
    }
}

/// The part of [`drive`] that is not the job's end: attempts until one is answered.
///
/// # Errors
///
/// The next level's refusal, or that it was lost. Nothing of it is put into the job.
pub(crate) async fn attempts<N, F>(
    job: &JobWriter,
    next: &N,
    acquire: impl FnMut(Again) -> F,
) -> Result<(), ErrorBody>
where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Held>, ErrorBody>>,
{
    relayed(job, next, None, None, &mut Reading::new(TRIES), &mut None, acquire).await.map(drop)
}

async fn relayed<N, F>(
    job: &JobWriter,
    next: &N,
    mut departure: Option<&mut Departure>,
    mut measured: Option<&mut Measured>,
    reading: &mut Reading,
    asked: &mut Option<Completion>,
    mut acquire: impl FnMut(Again) -> F,
) -> Result<End, ErrorBody>
where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Held>, ErrorBody>>,
{
    let (mut begun, mut suspect) = (0, None::<Suspect>);
    let mut short = Short::default();
    let mut cut = None;
    // What its client is told if an answer that was cut off is one that cannot be continued.
    let mut otherwise = None;
    // What is left of a job may have been ended because nobody came for it in time.
    let mut is_left = reading.job().is_some();
    loop {
        let (sent, at, held, elsewhere) = match reading.job().cloned() {
            Some(upstream) => match read_on(next, &upstream, reading.failed()).await {
                Ok((response, held)) => (Sent::Answered(response), upstream.at, Some(held), false),
                Err(NotRead::Broken(error)) => {
                    (Sent::Failed(Failure::broken(&error)), upstream.at, None, false)
                }
                Err(NotRead::Refused(response)) => return Err(refusal(*response).await),
                Err(gone) => {
                    let body = gone_for(gone, reading.is_answered()).await;
                    if reading.is_answered() {
                        let blamed = Suspect::unseen().again(suspect);
                        let rest = Cut::of(job, asked.as_ref(), blamed);
                        let Some(rest) = rest else { return Err(body) };
                        tracing::warn!(
                            why = body.error.message,
                            ?blamed,
                            "an answer has nobody who gives its rest; going on with it"
                        );
                        if blamed.is_alone() {
                            *asked = None;
                        }
                        (cut, otherwise) = (Some(rest), Some(body));
                        (begun, suspect) = (0, Some(blamed));
                    } else if reading.fail().is_none() || begun == BEGINNINGS {
                        return Err(body);
                    }
                    reading.begin_anew();
                    continue;
                }
            },
            None => {
                begun += 1;
                let acquired = match cut.take() {
                    Some(Cut { completion, delivered, suspect }) => {
                        next.go_on(completion, delivered, suspect, job.emitter()).await
                    }
                    None => {
                        let without = short.places();
                        acquire(Again { failed: reading.failed(), suspect, without }).await
                    }
                };
                let Attempt { request, at, guard, elsewhere } = match acquired {
                    Ok(attempt) => attempt,
                    Err(body) if !short.0.is_empty() => return Err(short.refusal(Some(body))),
                    Err(body) if suspect.is_some() => {
                        return Err(crashed(reading.is_answered(), &body.error.message));
                    }
                    Err(body) => return Err(body),
                };
                (Sent::Yet(request), at, Some(guard), elsewhere)
            }
        };
        let asked_of = elsewhere.then(|| at.clone());
        let (departure, measured) = (departure.as_deref_mut(), measured.as_deref_mut());
        let heard = || held.iter().for_each(Hold::heard);
        let answer = Answer { job, at, departure, measured, heard: &heard };
        let outcome = tokio::select! {
            why = given_up(held.as_ref()) => Err(Failure::Broken { why }),
            outcome = answered(sent, answer, reading) => outcome,
        };
        let blamed = match (&outcome, &held) {
            (Err(failure), Some(held)) => match failure.of_process(suspect.is_some()) {
                Some(why) => held.blames().await.map(|blamed| (why, blamed.again(suspect))),
                None => None,
            },
            _ => None,
        };
        let starved = blamed.as_ref().and(held.as_ref()).and_then(Hold::starved);
        drop(held);
        // Anybody may have taken the memory: who it was is asked only if it happens again.
        let blamed =
            blamed.filter(|_| starved.is_none() || suspect.is_some() || reading.failed() > 0);
        if let Some((why, blamed)) = blamed {
            let crashed = |answered| match &starved {
                Some(starved) => starved_with(answered, starved),
                None => crashed(answered, &why),
            };
            // Others that were under way are tried again as well: that counts for none.
            if suspect.is_some_and(Suspect::is_alone) {
                return Err(crashed(reading.is_answered()));
            }
            if reading.is_answered() {
                let body = crashed(true);
                let rest = Cut::of(job, asked.as_ref(), blamed);
                let Some(rest) = rest else { return Err(body) };
                (cut, otherwise) = (Some(rest), Some(body));
            }
            tracing::warn!(
                why,
                ?blamed,
                "a process ended while it had this request; trying it again"
            );
            if blamed.is_alone() {
                *asked = None;
            }
            reading.begin_anew();
            (begun, suspect) = (0, Some(blamed));
            continue;
        }
        match outcome {
            Ok(None) => return Ok(End::Whole),
            Ok(Some((reply, upstream))) => return Ok(End::Departs { reply, upstream }),
            Err(Failure::Refused(body))
                if is_left && body.error.code == ErrorCode::Cancelled && !reading.is_answered() =>
            {
                is_left = false;
                reading.begin_anew();
            }
            Err(Failure::Refused(body))
                if asked_of.is_some() && short.is_said_by(&body, reading) =>
            {
                let at = asked_of.unwrap_or_default();
                tracing::info!(at, why = body.error.message, "asking another one");
                short.0.push((at, body));
                if short.is_over() {
                    return Err(short.refusal(None));
                }
                reading.begin_anew();
            }
            Err(Failure::Refused(body)) => {
                return Err(match otherwise {
                    Some(otherwise) if does_not_go_on(&body) => {
                        tracing::warn!(why = body.error.message, "an answer is not continued");
                        otherwise
                    }
                    _ => body,
                });
            }
            Err(failure) => {
                let is_repeatable = reading.job().is_some() || !reading.is_answered();
                if !is_repeatable || reading.fail().is_none() {
                    return Err(failure.into_body(reading.is_answered()));
                }
                let failed = reading.failed();
                tracing::warn!(?failure, failed, "the next level broke off; asking again");
            }
        }
    }
}

/// Who has refused a request for want of memory, and after that for whatever reason.
#[derive(Default)]
struct Short(Vec<(String, ErrorBody)>);

impl Short {
    fn is_said_by(&self, body: &ErrorBody, reading: &Reading) -> bool {
        !reading.is_answered()
            && (!self.0.is_empty() || body.error.code == ErrorCode::InsufficientMemory)
    }

    fn places(&self) -> Vec<String> {
        self.0.iter().map(|(at, _)| at.clone()).collect()
    }

    /// Whether the last one has refused it for another reason than memory.
    fn is_over(&self) -> bool {
        let last = self.0.last();
        last.is_some_and(|(_, body)| body.error.code != ErrorCode::InsufficientMemory)
    }

    /// What they all said, and why there was nobody else, if that has another reason than that all were
    /// asked.
    fn refusal(self, nobody: Option<ErrorBody>) -> ErrorBody {
        let other = |body: &ErrorBody| body.error.code != ErrorCode::InsufficientMemory;
        let nobody = nobody.filter(other).map(|body| body.error.message);
        let message = match (&self.0[..], nobody) {
            ([(_, body)], None) => body.error.message.clone(),
            (said, nobody) => {
                let said = said.iter().map(|(at, body)| format!("`{at}`: {}", body.error.message));
                said.chain(nobody).collect::<Vec<_>>().join("; ")
            }
        };
        ErrorBody::new(ErrorCode::InsufficientMemory, message)
    }
}

impl Cut {
    /// `None` where not all is known that was asked and that has come.
    fn of(job: &JobWriter, asked: Option<&Completion>, suspect: Suspect) -> Option<Self> {
        let completion = asked?.clone();
        let chunks = job.events()?.into_iter().filter(|event| event.name.is_none());
        let delivered = chunks.map(|chunk| serde_json::from_slice(&chunk.data));
        let delivered = delivered.collect::<Result<_, _>>().ok()?;
        Some(Self { completion, delivered, suspect })
    }
}

/// Whether the refusal is of a process that cannot go on with the answer at all.
fn does_not_go_on(body: &ErrorBody) -> bool {
    use ErrorCode::{BodyTooLarge, MethodNotAllowed, NotContinuable, UnknownPath};
    let codes = [NotContinuable, UnknownPath, MethodNotAllowed, BodyTooLarge];
    codes.contains(&body.error.code)
}

/// The end of a request that may be why a process ended.
fn crashed(answered: bool, why: &str) -> ErrorBody {
    let what = match answered {
        true => "the answer was cut off: the process that gave it has crashed",
        false => "a process crashed while it had this request, and there is no other try",
    };
    ErrorBody::new(ErrorCode::WorkerCrashed, format!("{what}: {why}"))
}

/// The same of one whose process was ended for want of memory again.
fn starved_with(answered: bool, why: &str) -> ErrorBody {
    let what = match answered {
        true => "the answer was cut off: the process that gave it is there no more",
        false => "the process that had this request is there no more, and there is no other try",
    };
    ErrorBody::new(ErrorCode::InsufficientMemory, format!("{what}: {why}"))
}

/// A request on its way.
enum Sent {
    Yet(RequestBuilder),
    Answered(Response),
    Failed(Failure),
}

async fn answered(
    sent: Sent,
    answer: Answer<'_>,
    reading: &mut Reading,
) -> Result<Option<(Reply, Origin)>, Failure> {
    let response = match sent {
        Sent::Yet(request) => request.send().await.map_err(|error| Failure::broken(&error))?,
        Sent::Answered(response) => response,
        Sent::Failed(failure) => return Err(failure),
    };
    relay(response, answer, reading).await
}

async fn given_up(held: Option<&impl Hold>) -> String {
    match held {
        Some(held) => held.given_up().await,
        None => std::future::pending().await,
    }
}

/// What keeps the rest of an answer from coming.
async fn gone_for(gone: NotRead<ErrorBody>, answered: bool) -> ErrorBody {
    match gone {
        NotRead::Unreachable(body) if answered => cut_off(body),
        NotRead::Unreachable(body) => body,
        NotRead::Broken(error) => Failure::broken(&error).into_body(answered),
        NotRead::Lost(response) | NotRead::Refused(response) => {
            let message = refusal(*response).await.error.message;
            let why = format!("the next level has lost the request: {message}");
            Failure::Broken { why }.into_body(answered)
        }
    }
}

/// What kept the rest of an answer from coming, to a client who has the beginning.
fn cut_off(mut body: ErrorBody) -> ErrorBody {
    body.error.message = format!("the answer was cut off: {}", body.error.message);
    body
}
