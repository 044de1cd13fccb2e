use rbee_api::{JobState, StreamEvent};

/// How a job ended whose answer is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    #[error("the job was cancelled")]
    Cancelled,
    #[error("the job failed and gave no reason")]
    Failed,
    /// Whoever asks again is told the rest.
    #[error("the job goes on elsewhere")]
    Elsewhere,
}

/// Whether the event is the last part of an answer: `[DONE]`, or a result.
pub(crate) fn completes(event: &StreamEvent) -> bool {
    matches!(event, StreamEvent::Done | StreamEvent::Result(_))
}

/// What a job's end means for an answer whose last part has not come: only a job that completed had
/// nothing more to say.
pub(crate) fn of_end(state: JobState) -> Result<(), Unfinished> {
    match state {
        JobState::Completed => Ok(()),
        JobState::Cancelled => Err(Unfinished::Cancelled),
        JobState::Failed => Err(Unfinished::Failed),
        JobState::Running => Err(Unfinished::Elsewhere),
    }
}
