use crate::id::JobId;

/// A job that is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewJob<'a> {
    pub id: JobId,
    pub operation: &'a str,
    /// Whether it is to outlive this process, as far as there is a [`crate::Journal`].
    pub kept: bool,
}

impl<'a> NewJob<'a> {
    /// One that ends with its process.
    pub fn of(operation: &'a str) -> Self {
        Self { id: JobId::generate(), operation, kept: false }
    }
}
