use std::time::Duration;

/// How often in a row something is tried again, and what is waited before each time.
#[derive(Debug, Clone)]
pub struct Tries {
    waits: &'static [Duration],
    failed: usize,
}

impl Tries {
    /// One more try for each wait.
    pub const fn new(waits: &'static [Duration]) -> Self {
        Self { waits, failed: 0 }
    }

    /// How many tries have failed in a row.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Notes a failure; gives the wait before the next try, or `None` where it was the last.
    pub fn fail(&mut self) -> Option<Duration> {
        let wait = self.waits.get(self.failed).copied();
        self.failed += 1;
        wait
    }

    /// Something has come of it: a failure from now on is the first again.
    pub fn succeed(&mut self) {
        self.failed = 0;
    }
}
