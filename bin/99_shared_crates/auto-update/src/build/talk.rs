use std::time::Duration;

use crate::{cargo, freshness::StaleReason};

/// What happens while a binary is made sure of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildEvent {
    /// Nothing is to be compiled. The last event.
    Fresh,
    /// Somebody else builds it; what they build is taken.
    WaitingFor {
        /// The process that builds, where it is known.
        pid: Option<u32>,
    },
    /// Something is compiled, because of these inputs; empty where only cargo knows why.
    Building { reasons: Vec<StaleReason> },
    /// A line as cargo printed it, with colours if they were asked for.
    Line(String),
    /// It is built. The last event.
    Finished {
        duration: Duration,
        /// The binary is, byte for byte, the one that there was before.
        identical: bool,
    },
    /// It cannot be built. The last event; the error has the same words.
    Failed {
        /// As cargo printed it, without colours.
        diagnostics: String,
        /// Nothing was compiled: these very inputs have failed before.
        remembered: bool,
    },
}

pub(super) type Observer<'a> = &'a mut (dyn FnMut(BuildEvent) + Send);

/// Tells the observer what is worth telling, in order.
pub(super) struct Talk<'o, 'r> {
    observer: Observer<'o>,
    /// Lines printed before it was known that something is compiled.
    held: Vec<String>,
    /// What cargo has been said to wait for; it says so each time.
    waits: Vec<String>,
    /// What to announce, until it is announced.
    reasons: Option<&'r Vec<StaleReason>>,
}

impl<'o, 'r> Talk<'o, 'r> {
    pub(super) fn new(observer: Observer<'o>, reasons: &'r Vec<StaleReason>) -> Self {
        Self { observer, held: Vec::new(), waits: Vec::new(), reasons: Some(reasons) }
    }

    pub(super) fn observer(&mut self) -> Observer<'_> {
        self.observer
    }

    /// Tells how it ended. What was never announced, and `changed_nothing`, was no build.
    pub(super) fn end(&mut self, changed_nothing: bool, duration: Duration, identical: bool) {
        if self.reasons.is_some() && changed_nothing {
            (self.observer)(BuildEvent::Fresh);
        } else {
            self.announce();
            (self.observer)(BuildEvent::Finished { duration, identical });
        }
    }

    pub(super) fn announce(&mut self) {
        if let Some(reasons) = self.reasons.take() {
            (self.observer)(BuildEvent::Building { reasons: reasons.clone() });
            for line in self.held.drain(..) {
                (self.observer)(BuildEvent::Line(line));
            }
        }
    }

    pub(super) fn line(&mut self, line: String) {
        let plain = cargo::without_colours(&line);
        let verb = plain.trim_start();
        let is_wait = verb.starts_with("Blocking");
        if is_wait && self.waits.iter().any(|told| told == verb) {
            return;
        }
        if is_wait {
            self.waits.push(verb.to_owned());
        }
        if is_wait || self.reasons.is_none() {
            (self.observer)(BuildEvent::Line(line));
            return;
        }
        self.held.push(line);
        if verb.starts_with("Compiling") {
            self.announce();
        }
    }
}
