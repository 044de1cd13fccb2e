use job_server::JobWriter;
use rbee_api::{EVENT_ERROR, ErrorBody};

use crate::relay::{Failure, error_data, relay};

/// How often a request is sent anew when the process it went to is gone: once for a process that
/// died, once more for a replacement that was under way.
const ATTEMPTS: usize = 3;

/// What one attempt needs: the request, and whatever is to be held while it is answered.
#[derive(Debug)]
pub struct Attempt<G> {
    pub request: reqwest::RequestBuilder,
    /// Such as a count of the process's active requests; dropped when the answer has ended.
    pub guard: G,
}

/// Runs `job` to its end: gets an attempt from `acquire`, relays it, tries again if the process
/// was gone before it had said anything.
///
/// `acquire` is told how many attempts have failed; from the first failure on it must not trust
/// what it remembers of the process. A cancelled job drops whatever is under way.
pub async fn drive<G, F>(job: JobWriter, mut acquire: impl FnMut(usize) -> F)
where
    F: Future<Output = Result<Attempt<G>, ErrorBody>>,
{
    let end = tokio::select! {
        biased;
        () = job.cancelled() => return job.cancelled_end(),
        end = attempts(&job, &mut acquire) => end,
    };
    match end {
        Ok(()) => job.complete(),
        Err(body) => {
            job.emit(Some(EVENT_ERROR), error_data(&body));
            job.fail(body.error.message);
        }
    }
}

/// The part of [`drive`] that is not the job's end: attempts until one is answered.
///
/// # Errors
///
/// The next level's refusal, or that it was lost. Nothing of it is put into the job.
pub async fn attempts<G, F>(
    job: &JobWriter,
    acquire: &mut impl FnMut(usize) -> F,
) -> Result<(), ErrorBody>
where
    F: Future<Output = Result<Attempt<G>, ErrorBody>>,
{
    let mut failed = 0;
    loop {
        let Attempt { request, guard } = acquire(failed).await?;
        let outcome = relay(request, job).await;
        drop(guard);
        match outcome {
            Ok(()) => return Ok(()),
            Err(Failure::Refused(body)) => return Err(body),
            Err(Failure::Broken { why, answered }) => {
                failed += 1;
                if answered || failed == ATTEMPTS {
                    return Err(Failure::Broken { why, answered }.into_body());
                }
                tracing::warn!(why, failed, "the next level did not answer; asking again");
            }
        }
    }
}
