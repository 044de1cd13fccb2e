use std::time::Duration;

use rbee_api::{HEADER_OWNER, Origin, causes, paths};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

/// How long whoever is told of a job may take to answer.
const RESTORE_LIMIT: Duration = Duration::from_secs(30);

/// How a reader reaches the processes that have its jobs, to read on or to end one.
pub trait Source: Sync {
    /// Whatever is to be held while the request is answered.
    type Held: Send;
    /// Why no process is reached.
    type Error;

    /// A request for `path` to whoever answers in the name `at` now, with the right to change its
    /// state.
    ///
    /// `failed` is how many such requests have failed; from the first failure on the source must not
    /// trust what it remembers of the process.
    fn request(
        &self,
        at: &str,
        method: Method,
        path: &str,
        failed: usize,
    ) -> impl Future<Output = Result<(RequestBuilder, Self::Held), Self::Error>> + Send;
}

/// Why the rest of a job cannot be read.
#[derive(Debug)]
pub enum NotRead<E> {
    /// No process is reached.
    Unreachable(E),
    /// The process did not answer.
    Broken(reqwest::Error),
    /// It refused, in these words.
    Refused(Box<Response>),
    /// Nobody has the job any more; the answer says so.
    Lost(Box<Response>),
}

/// The rest of the job's events, from whoever answers in its name now.
///
/// A process that does not know the job may have come after one that died. It is told then where that
/// one had the job from, as far as its stream has said so, and goes on there.
///
/// # Errors
///
/// See [`NotRead`].
pub async fn read_on<S: Source>(
    source: &S,
    job: &Origin,
    failed: usize,
) -> Result<(Response, S::Held), NotRead<S::Error>> {
    let (response, held) = resume(source, job, failed).await?;
    if response.status() != StatusCode::NOT_FOUND {
        return succeeded(response, held);
    }
    drop(held);
    if !restore(source, job, failed + 1).await {
        return Err(NotRead::Lost(Box::new(response)));
    }
    let (response, held) = resume(source, job, failed + 1).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Err(NotRead::Lost(Box::new(response))),
        _ => succeeded(response, held),
    }
}

/// Ends the job, if it is still there: it would otherwise wait for its reader to come back. One that
/// another owner goes on with is left alone.
pub async fn cancel<S: Source>(source: &S, job: &Origin) {
    let path = paths::job(&job.job_id);
    if let Ok((request, _held)) = source.request(&job.at, Method::DELETE, &path, 0).await
        && let Err(error) = request.header(HEADER_OWNER, job.owner).send().await
    {
        tracing::debug!(
            error = causes(&error),
            at = job.at,
            "a job's process is not told to end it"
        );
    }
}

async fn resume<S: Source>(
    source: &S,
    job: &Origin,
    failed: usize,
) -> Result<(Response, S::Held), NotRead<S::Error>> {
    let path = paths::job_stream(&job.job_id);
    let asked = source.request(&job.at, Method::GET, &path, failed).await;
    let (request, held) = asked.map_err(NotRead::Unreachable)?;
    let request = request.header("last-event-id", job.last_event_id);
    let request = request.header(HEADER_OWNER, job.owner);
    let response = request.send().await.map_err(NotRead::Broken)?;
    Ok((response, held))
}

fn succeeded<H, E>(response: Response, held: H) -> Result<(Response, H), NotRead<E>> {
    if response.status().is_success() {
        Ok((response, held))
    } else {
        Err(NotRead::Refused(Box::new(response)))
    }
}

/// `false` where the process cannot go on with the job.
async fn restore<S: Source>(source: &S, job: &Origin, failed: usize) -> bool {
    let Some(remains) = job.remains() else { return false };
    let path = paths::job(&job.job_id);
    let Ok((request, _held)) = source.request(&job.at, Method::PUT, &path, failed).await else {
        return false;
    };
    match request.timeout(RESTORE_LIMIT).json(&remains).send().await {
        Ok(response) => response.status().is_success(),
        Err(error) => {
            tracing::warn!(error = causes(&error), at = job.at, "a process is not told of a job");
            false
        }
    }
}
