use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::id::JobId;

/// One entry of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// 1 for the first event of a job, then one more for each.
    pub id: u64,
    /// `None` for the events that are the job's product, such as a model's tokens.
    pub name: Option<&'static str>,
    /// UTF-8, passed on as it was given.
    pub data: Bytes,
}

impl Event {
    /// What the event costs in a log, in bytes.
    pub(crate) fn cost(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    Running,
    Completed,
    Failed {
        why: String,
    },
    Cancelled,
    /// It goes on in another process, which has its events; see [`crate::Snapshot`].
    Moved,
}

impl JobState {
    pub fn is_ended(&self) -> bool {
        !matches!(self, Self::Running)
    }
}

impl From<&JobState> for rbee_api::JobState {
    fn from(state: &JobState) -> Self {
        match state {
            // Wherever it is.
            JobState::Running | JobState::Moved => Self::Running,
            JobState::Completed => Self::Completed,
            JobState::Failed { .. } => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// How a log ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// One more than the id of the last event.
    pub id: u64,
    /// Never [`JobState::Running`].
    pub state: JobState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobInfo {
    pub id: JobId,
    pub operation: String,
    /// What it is about, where that has been said.
    pub subject: Option<String>,
    pub state: JobState,
    /// Whether somebody asked for the job to end; it runs until its writer has seen that.
    pub cancel_requested: bool,
    /// 0 before the first event.
    pub last_event_id: u64,
    pub created_at: SystemTime,
}

impl From<JobInfo> for rbee_api::JobInfo {
    fn from(info: JobInfo) -> Self {
        let created_at = info.created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            job_id: info.id.to_string(),
            operation: info.operation,
            subject: info.subject,
            state: (&info.state).into(),
            error: match info.state {
                JobState::Failed { why } => Some(why),
                JobState::Running | JobState::Completed | JobState::Cancelled | JobState::Moved => {
                    None
                }
            },
            last_event_id: info.last_event_id,
            created_at_ms: u64::try_from(created_at.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
