use rbee_api::ErrorBody;
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};

/// A job of the next level whose events go into one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Who has it, as [`NextLevel::request`] knows them: a hive's alias, a worker's id.
    pub at: String,
    pub job_id: String,
    /// The last of its events that ours has; 0 before the first.
    pub last_event_id: u64,
}

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

impl Upstream {
    pub(crate) fn new(at: String, job_id: String) -> Self {
        Self { at, job_id, last_event_id: 0 }
    }

    /// The rest of the job's events.
    pub(crate) async fn resume<N: NextLevel>(
        &self,
        next: &N,
        failed: usize,
    ) -> Result<(RequestBuilder, N::Guard), ErrorBody> {
        let path = format!("/v1/jobs/{}/stream", self.job_id);
        let (request, guard) = next.request(&self.at, Method::GET, &path, failed).await?;
        Ok((request.header("last-event-id", self.last_event_id), guard))
    }

    /// Ends the job, if it is still there: it would otherwise wait for us to come back.
    pub(crate) async fn cancel<N: NextLevel>(&self, next: &N) {
        let path = format!("/v1/jobs/{}", self.job_id);
        if let Ok((request, _guard)) = next.request(&self.at, Method::DELETE, &path, 0).await
            && let Err(error) = request.send().await
        {
            let error = crate::causes(&error);
            tracing::debug!(error, at = self.at, "the next level was not told of the end");
        }
    }
}
