use job_server::JobWriter;
use rbee_api::{ErrorBody, Origin};
use reqwest::RequestBuilder;

use crate::{
    relay::{Answer, Failure, relay},
    transfer::{Departure, Reply, Transfer},
    upstream::{NextLevel, cancel, restore, resume},
};

/// How often in a row a request is sent anew when the process it went to is gone: once for a
/// process that died, once more for a replacement that was under way.
const ATTEMPTS: usize = 3;

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

/// How relaying came to its end without an error.
enum End {
    Whole,
    /// The job is to go on elsewhere.
    Departs {
        reply: Reply,
        upstream: Origin,
    },
}

/// What has come of the answer so far.
#[derive(Default)]
struct Progress {
    /// Where the rest is to be had, once the next level has named its job.
    upstream: Option<Origin>,
    /// Whether a part of the answer is in the job, so that another answer would repeat it.
    answered: bool,
}

/// Runs `job` to its end: gets an attempt from `acquire`, relays it, tries again if the process
/// was gone before it had said anything, and goes on with the next level's job if it was gone later.
///
/// A cancelled job drops whatever is under way and ends the next level's job.
pub(crate) async fn drive<N, F>(
    job: JobWriter,
    next: &N,
    mut departure: Departure,
    from: Option<Origin>,
    acquire: impl FnMut(usize) -> F,
) where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Guard>, ErrorBody>>,
{
    let mut progress = Progress { answered: from.is_some(), upstream: from };
    let end = tokio::select! {
        biased;
        () = job.cancelled() => None,
        end = relayed(&job, next, Some(&mut departure), &mut progress, acquire) => Some(end),
    };
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
            if let Some(upstream) = progress.upstream {
                cancel(&upstream, next).await;
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
    acquire: impl FnMut(usize) -> F,
) -> Result<(), ErrorBody>
where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Guard>, ErrorBody>>,
{
    relayed(job, next, None, &mut Progress::default(), acquire).await.map(drop)
}

async fn relayed<N, F>(
    job: &JobWriter,
    next: &N,
    mut departure: Option<&mut Departure>,
    progress: &mut Progress,
    mut acquire: impl FnMut(usize) -> F,
) -> Result<End, ErrorBody>
where
    N: NextLevel,
    F: Future<Output = Result<Attempt<N::Guard>, ErrorBody>>,
{
    let (mut failed, mut begun) = (0, 0);
    loop {
        let resumed = progress.upstream.clone();
        let Attempt { request, at, guard } = match &resumed {
            Some(upstream) => match resume(upstream, next, failed).await {
                Ok((request, guard)) => Attempt { request, at: upstream.at.clone(), guard },
                Err(body) if progress.answered => return Err(cut_off(body)),
                Err(body) => {
                    failed += 1;
                    if failed == ATTEMPTS || begun == BEGINNINGS {
                        return Err(body);
                    }
                    progress.upstream = None;
                    continue;
                }
            },
            None => {
                begun += 1;
                acquire(failed).await?
            }
        };
        let answer = Answer { job, at, departure: departure.as_deref_mut() };
        let outcome = relay(request, answer, &mut progress.upstream, &mut progress.answered).await;
        drop(guard);
        match outcome {
            Ok(None) => return Ok(End::Whole),
            Ok(Some((reply, upstream))) => return Ok(End::Departs { reply, upstream }),
            Err(Failure::Refused(body)) => {
                let lost = resumed.filter(|_| body.error.status == Some(404));
                let Some(lost) = lost else { return Err(body) };
                failed += 1;
                if failed < ATTEMPTS && restore(&lost, next, failed).await {
                    continue;
                }
                if failed == ATTEMPTS || begun == BEGINNINGS || progress.answered {
                    let why =
                        format!("the next level has lost the request: {}", body.error.message);
                    return Err(Failure::Broken { why }.into_body(progress.answered));
                }
                // Nothing of the answer has come, so it can be begun anew.
                progress.upstream = None;
            }
            Err(failure) => {
                // Each part that came is a new beginning: a long stream may see many replacements.
                let went_on = progress.upstream != resumed;
                failed = if went_on { 1 } else { failed + 1 };
                let repeatable = progress.upstream.is_some() || !progress.answered;
                if !repeatable || failed == ATTEMPTS {
                    return Err(failure.into_body(progress.answered));
                }
                tracing::warn!(?failure, failed, "the next level broke off; asking again");
            }
        }
    }
}

/// What kept the rest of an answer from coming, to a client who has the beginning.
fn cut_off(mut body: ErrorBody) -> ErrorBody {
    body.error.message = format!("the answer was cut off: {}", body.error.message);
    body
}
