use std::time::Duration;

use job_client::{NotRead, Reading, Tries, cancel, read_on};
use job_server::JobWriter;
use rbee_api::{ErrorBody, ErrorCode, Origin};
use reqwest::{RequestBuilder, Response};

use crate::{
    Hold, NextLevel,
    metrics::{Ended, Measured},
    relay::{Answer, Failure, refusal, relay},
    transfer::{Departure, Reply, Transfer},
};

/// A request is sent anew when the process it went to is gone: once for a process that died, once
/// more for a replacement that was under way. Bringing up the next process is the wait.
const TRIES: Tries = Tries::new(&[Duration::ZERO; 2]);

/// How often one request is begun, whatever came of it in between: a request that ends each process
/// that begins it must not go from one to the next for ever.
const BEGINNINGS: usize = 3;

/// What one attempt needs: the request, and whatever is to be held while it is answered.
#[derive(Debug)]
pub struct Attempt<G> {
    pub request: RequestBuilder,
    /// Who is asked, as [`NextLevel::request`] knows them.
    pub at: String,
    /// Such as a count of the process's active requests; dropped when the answer has ended.
    pub guard: G,
}

/// What has become of a request so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Again {
    /// How many attempts have failed; from the first failure on nothing that is remembered of the
    /// process must be trusted.
    pub failed: usize,
    /// Whether the request may be why a process ended, so that no other is to run beside it.
    pub alone: bool,
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

/// Runs `job` to its end: gets an attempt from `acquire`, relays it, tries again if the process
/// was gone before it had said anything, and goes on with the next level's job if it was gone later.
///
/// What comes of it is counted by `measured`, where it is a request. A cancelled job drops whatever is
/// under way and ends the next level's job.
pub(crate) async fn drive<N, F>(
    job: JobWriter,
    next: &N,
    mut departure: Departure,
    from: Option<Origin>,
    mut measured: Option<Measured>,
    acquire: impl FnMut(Again) -> F,
) where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Held>, ErrorBody>>,
{
    let mut reading = match from {
        Some(upstream) => Reading::resumed(upstream, TRIES),
        None => Reading::new(TRIES),
    };
    let end = tokio::select! {
        biased;
        () = job.cancelled() => None,
        end = relayed(&job, next, Some(&mut departure), measured.as_mut(), &mut reading, acquire) => {
            Some(end)
        }
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
        Some(Ok(End::Whole)) => job.complete(),
        Some(Ok(End::Departs { reply, upstream })) => {
            let id = job.id();
            if reply.send(Transfer { job: job.depart(), upstream }).is_err() {
                tracing::error!(%id, "whoever asked for the job went away, and it is lost");
            }
        }
        Some(Err(body)) => job.fail_with(body),
        None => {
            job.cancelled_end();
            if let Some(upstream) = reading.job() {
                cancel(next, upstream).await;
            }
        }
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
    relayed(job, next, None, None, &mut Reading::new(TRIES), acquire).await.map(drop)
}

async fn relayed<N, F>(
    job: &JobWriter,
    next: &N,
    mut departure: Option<&mut Departure>,
    mut measured: Option<&mut Measured>,
    reading: &mut Reading,
    mut acquire: impl FnMut(Again) -> F,
) -> Result<End, ErrorBody>
where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Held>, ErrorBody>>,
{
    let (mut begun, mut alone) = (0, false);
    loop {
        let (sent, at, held) = match reading.job().cloned() {
            Some(upstream) => match read_on(next, &upstream, reading.failed()).await {
                Ok((response, held)) => (Sent::Answered(response), upstream.at, Some(held)),
                Err(NotRead::Broken(error)) => {
                    (Sent::Failed(Failure::broken(&error)), upstream.at, None)
                }
                Err(NotRead::Refused(response)) => return Err(refusal(*response).await),
                Err(gone) => {
                    let body = gone_for(gone, reading.is_answered()).await;
                    if reading.fail().is_none() || begun == BEGINNINGS || reading.is_answered() {
                        return Err(body);
                    }
                    reading.begin_anew();
                    continue;
                }
            },
            None => {
                begun += 1;
                let acquired = acquire(Again { failed: reading.failed(), alone }).await;
                let Attempt { request, at, guard } = match acquired {
                    Ok(attempt) => attempt,
                    Err(body) if alone => return Err(crashed(false, &body.error.message)),
                    Err(body) => return Err(body),
                };
                (Sent::Yet(request), at, Some(guard))
            }
        };
        let (departure, measured) = (departure.as_deref_mut(), measured.as_deref_mut());
        let answer = Answer { job, at, departure, measured };
        let outcome = tokio::select! {
            why = given_up(held.as_ref()) => Err(Failure::Broken { why }),
            outcome = answered(sent, answer, reading) => outcome,
        };
        let blamed = match (&outcome, &held) {
            (Err(Failure::Broken { why }), Some(held)) if held.blames().await => Some(why.clone()),
            _ => None,
        };
        drop(held);
        if let Some(why) = blamed {
            // Others that were under way are tried again as well, each alone: that counts for none.
            if alone || reading.is_answered() {
                return Err(crashed(reading.is_answered(), &why));
            }
            tracing::warn!(why, "a process ended while it had this request; trying that alone");
            reading.begin_anew();
            (begun, alone) = (0, true);
            continue;
        }
        match outcome {
            Ok(None) => return Ok(End::Whole),
            Ok(Some((reply, upstream))) => return Ok(End::Departs { reply, upstream }),
            Err(Failure::Refused(body)) => return Err(body),
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

/// The end of a request that may be why a process ended.
fn crashed(answered: bool, why: &str) -> ErrorBody {
    let what = match answered {
        true => "the answer was cut off: the process that gave it has crashed",
        false => "a process crashed while it had this request, and there is no other try",
    };
    ErrorBody::new(ErrorCode::WorkerCrashed, format!("{what}: {why}"))
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
