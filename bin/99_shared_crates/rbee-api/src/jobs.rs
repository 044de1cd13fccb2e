use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCreated {
    pub job_id: String,
    /// Path of the job's event stream on the same server.
    pub sse_url: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    pub jobs: Vec<JobInfo>,
}

/// The answer to `GET /v1/jobs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobInfo {
    pub job_id: String,
    pub operation: String,
    /// What it is about, such as a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub state: JobState,
    /// Why it failed.
    pub error: Option<String>,
    /// The id of the last event so far.
    pub last_event_id: u64,
    pub created_at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// The data of the `end` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    pub state: JobState,
}

/// A job of the next level whose events go into one of ours.
///
/// As the data of an `origin` event it is true before the next chunk; with each chunk, it and its own
/// origin are one event on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// Who has it: a hive's alias, a worker's id.
    pub at: String,
    pub job_id: String,
    /// The last of its events that ours has; 0 before the first.
    pub last_event_id: u64,
    /// Which owner of the job reads it: as in [`crate::HEADER_OWNER`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub owner: u64,
    /// Where the next level has it from in its turn, as far as it has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub origin: Option<Box<Self>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The body of `PUT /v1/jobs/{id}`: what the reader of a job has whose process died, for another one
/// to go on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRemains {
    pub last_event_id: u64,
    pub origin: Origin,
}

impl Origin {
    /// Notes that a chunk has come.
    pub fn advance(&mut self) {
        self.last_event_id += 1;
        if let Some(origin) = &mut self.origin {
            origin.advance();
        }
    }

    /// What this was before the last chunk came.
    #[must_use]
    pub fn before_chunk(&self) -> Self {
        Self {
            last_event_id: self.last_event_id.saturating_sub(1),
            origin: self.origin.as_ref().map(|origin| Box::new(origin.before_chunk())),
            ..self.clone()
        }
    }

    /// What another process needs to go on with this job in the place of the one that died; `None`
    /// where that one had not said where it has the chunks from.
    pub fn remains(&self) -> Option<JobRemains> {
        let origin = self.origin.as_deref()?.clone();
        Some(JobRemains { last_event_id: self.last_event_id, origin })
    }
}

/// The data of a `progress` event: something countable is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being brought, such as a model's name; one bar for each.
    pub target: String,
    pub done_bytes: u64,
    /// `None` while the size is unknown.
    pub total_bytes: Option<u64>,
}
