use std::time::Duration;

use http_guard::ApiError;
use rbee_api::ErrorCode;

use crate::id::JobId;

/// What cannot be done with a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("all of the {max_jobs} jobs that there is room for are running")]
    Full { max_jobs: usize },
    #[error("there is no job `{id}`, or it ended too long ago")]
    Unknown { id: JobId },
    #[error("job `{id}` is here already")]
    Present { id: JobId },
    #[error("job `{id}` has already ended")]
    AlreadyEnded { id: JobId },
    /// Whoever asked had the job before another process went on with it.
    #[error("job `{id}` is another process's by now")]
    TakenOver { id: JobId },
    /// A reader asked for events, or was so far behind that it next needed events, that the log
    /// no longer holds.
    #[error("job `{id}` has dropped its events before {oldest}")]
    Gone { id: JobId, oldest: u64 },
    #[error("job `{id}` has no event {after}: its last is {last}")]
    Ahead { id: JobId, after: u64, last: u64 },
}

/// What a client is told to wait when every job that there is room for is running.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Full { .. } => {
                Self::new(ErrorCode::TooManyJobs, message).retry_after(RETRY_AFTER)
            }
            Error::Unknown { .. } => Self::new(ErrorCode::JobNotFound, message),
            Error::Present { .. } => Self::new(ErrorCode::JobPresent, message),
            Error::AlreadyEnded { .. } => Self::new(ErrorCode::JobEnded, message),
            Error::TakenOver { .. } => Self::new(ErrorCode::JobTakenOver, message),
            Error::Gone { .. } => Self::new(ErrorCode::EventsGone, message),
            Error::Ahead { .. } => Self::new(ErrorCode::InvalidLastEventId, message),
        }
    }
}
