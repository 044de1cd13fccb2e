use anyhow::Error;
use rbee_api::ErrorCode;
use rbee_config::for_here;

use crate::render::Paint;

/// What went wrong, as the shell is told; the numbers are documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whoever read standard output has read enough.
    Closed = 0,
    Failed = 1,
    /// The person asked for something that does not exist or cannot be.
    Usage = 2,
    Build = 3,
    Unreachable = 4,
    Interrupted = 130,
}

/// Why a verb did not do what it was asked: the error, its exit code and what the person can do.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    /// `None` when there is nothing to say, such as after Ctrl-C.
    pub error: Option<Error>,
    pub hints: Vec<String>,
    /// The queen's code for it, where it was the queen's.
    pub code: Option<ErrorCode>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, error: impl Into<Error>) -> Self {
        Self { kind, error: Some(error.into()), hints: Vec::new(), code: None }
    }

    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self::new(Kind::Usage, anyhow::anyhow!("{message}"))
    }

    pub(crate) fn failed(message: impl std::fmt::Display) -> Self {
        Self::new(Kind::Failed, anyhow::anyhow!("{message}"))
    }

    pub(crate) fn interrupted() -> Self {
        Self { kind: Kind::Interrupted, error: None, hints: Vec::new(), code: None }
    }

    /// A non-zero exit whose reason has been printed already, as a table or as JSON.
    pub(crate) fn said(kind: Kind) -> Self {
        Self { kind, error: None, hints: Vec::new(), code: None }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what was being done when the error came.
    #[must_use]
    pub(crate) fn context(mut self, doing: &'static str) -> Self {
        self.error = self.error.map(|error| error.context(doing));
        self
    }

    /// The lines for standard error: the error, its causes, then the hints.
    pub fn lines(&self, paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(error) = &self.error {
            let mut chain = error.chain().map(|cause| for_here(&cause.to_string()).into_owned());
            let first = chain.next().unwrap_or_default();
            lines.push(format!("{} {first}", paint.bad("error:")));
            let mut said = first;
            for cause in chain {
                // Some repeat what they were caused by.
                if !said.contains(&cause) {
                    lines.push(format!("  caused by: {cause}"));
                    said = cause;
                }
            }
        }
        let mark = paint.doubtful("hint:");
        lines.extend(self.hints.iter().map(|hint| format!("{mark} {}", for_here(hint))));
        lines
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Kind::Failed, error)
    }
}

impl From<Kind> for std::process::ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind as u8)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{Failure, Kind};
    use crate::render::Paint;

    #[test]
    fn a_failure_reads_from_what_to_why_to_what_next() {
        let error = anyhow!("connection refused").context("cannot reach the queen");
        let failure = Failure::new(Kind::Unreachable, error).hint("`./rbee queen start`");
        assert_eq!(
            failure.lines(Paint::Plain),
            [
                "error: cannot reach the queen",
                "  caused by: connection refused",
                "hint: `./rbee queen start`"
            ]
        );
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("refused").context("cannot connect: refused").context("no queen");
        let lines = Failure::new(Kind::Failed, error).lines(Paint::Plain);
        assert_eq!(lines, ["error: no queen", "  caused by: cannot connect: refused"]);
    }

    #[test]
    fn an_interruption_says_nothing() {
        assert!(Failure::interrupted().lines(Paint::Plain).is_empty());
        assert_eq!(Failure::interrupted().kind as u8, 130);
    }
}
