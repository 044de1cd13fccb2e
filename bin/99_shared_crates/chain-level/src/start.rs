use job_server::{JobId, NewJob};

use crate::transfer::Transfer;

/// How a job begins.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    pub(crate) new: NewJob<'a>,
    /// What is left of it, where another process has begun it.
    pub(crate) rest: Option<Transfer>,
}

impl<'a> Start<'a> {
    /// From nothing, under a name that is known already; whether it is to outlive this process.
    pub fn named(id: JobId, operation: &'a str, kept: bool) -> Self {
        Self { new: NewJob { id, operation, kept }, rest: None }
    }

    /// Where a process has left it that is no more, by its last note.
    #[must_use]
    pub fn behind(mut self, note: Option<&str>) -> Self {
        self.rest = note.and_then(|note| match serde_json::from_str(note) {
            Ok(rest) => Some(rest),
            Err(error) => {
                tracing::warn!(%error, "what is noted of a job cannot be read; it begins anew");
                None
            }
        });
        self
    }
}

impl<'a> From<&'a str> for Start<'a> {
    /// From nothing, and no longer than this process.
    fn from(operation: &'a str) -> Self {
        Self { new: NewJob::of(operation), rest: None }
    }
}
