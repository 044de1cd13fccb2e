use std::time::Duration;

/// What is kept of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Of those that were accepted to be done in any case all; of others only that they were.
    Answers,
    /// Which jobs there were and how they ended: no text of a prompt, and none of an answer.
    Names,
    /// There is no file.
    Nothing,
}

/// Within what the journal stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub rows: u32,
    /// Of requests and answers.
    pub bytes: u64,
    /// For how long an ended job is kept.
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { rows: 10_000, bytes: 256 << 20, age: Duration::from_hours(7 * 24) }
    }
}
