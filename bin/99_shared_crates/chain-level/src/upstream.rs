use rbee_api::{ErrorBody, Origin, paths};
use reqwest::{Method, RequestBuilder};

/// How a level reaches the processes of the next one by name, to go on with a job or to end it.
pub trait NextLevel: Clone + Send + Sync + 'static {
    /// Whatever is to be held while the request is answered.
    type Guard: Send;

    /// A request for `path` to whoever answers in the name `at` now, with the right to change its
    /// state.
    ///
    /// `failed` is how many such requests have failed; from the first failure on it must not trust
    /// what it remembers of the process.
    fn request(
        &self,
        at: &str,
        method: Method,
        path: &str,
        failed: usize,
    ) -> impl Future<Output = Result<(RequestBuilder, Self::Guard), ErrorBody>> + Send;
}

/// The rest of the job's events.
pub(crate) async fn resume<N: NextLevel>(
    job: &Origin,
    next: &N,
    failed: usize,
) -> Result<(RequestBuilder, N::Guard), ErrorBody> {
    let path = paths::job_stream(&job.job_id);
    let (request, guard) = next.request(&job.at, Method::GET, &path, failed).await?;
    Ok((request.header("last-event-id", job.last_event_id), guard))
}

/// Has the next level go on with the job although the process that relayed it died; `false` where it
/// cannot.
pub(crate) async fn restore<N: NextLevel>(job: &Origin, next: &N, failed: usize) -> bool {
    let Some(remains) = job.remains() else { return false };
    let path = paths::job(&job.job_id);
    let Ok((request, _guard)) = next.request(&job.at, Method::PUT, &path, failed).await else {
        return false;
    };
    match request.json(&remains).send().await {
        Ok(response) => response.status().is_success(),
        Err(error) => {
            let error = rbee_api::causes(&error);
            tracing::warn!(error, at = job.at, "the next level is not told of a job");
            false
        }
    }
}

/// Ends the job, if it is still there: it would otherwise wait for us to come back.
pub(crate) async fn cancel<N: NextLevel>(job: &Origin, next: &N) {
    let path = paths::job(&job.job_id);
    if let Ok((request, _guard)) = next.request(&job.at, Method::DELETE, &path, 0).await
        && let Err(error) = request.send().await
    {
        let error = rbee_api::causes(&error);
        tracing::debug!(error, at = job.at, "the next level was not told of the end");
    }
}
