use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::TARGET;

/// One thing that a person would notice.
///
/// ```
/// use narration_core::Narration;
///
/// Narration::new("queen", "hive_ready", "hive `my-hive` is ready").about("my-hive").emit();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narration {
    /// Who does it: `keeper`, `dmn-life`, `queen`, `hive`, `worker`.
    pub actor: String,
    /// What is done, as a word that scripts can match: `auto_rebuild`, `model_pull`.
    pub action: String,
    /// The sentence for the person.
    pub human: String,
    #[serde(default)]
    pub level: Level,
    /// What it is done to: a binary, a hive, a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The job on whose behalf it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    #[default]
    Info,
    Warn,
    Error,
    /// How far something is: the next one about the same target takes its place.
    Progress,
    /// A line of another program, passed on as it was printed: no actor is put before it.
    Verbatim,
}

impl Narration {
    pub fn new(
        actor: impl Into<String>,
        action: impl Into<String>,
        human: impl Into<String>,
    ) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            actor: actor.into(),
            action: action.into(),
            human: human.into(),
            level: Level::Info,
            target: None,
            job_id: None,
            duration_ms: None,
            at_ms: at.as_millis() as u64,
        }
    }

    /// A line that another program printed, such as cargo's.
    pub fn verbatim(actor: impl Into<String>, line: impl Into<String>) -> Self {
        Self::new(actor, "output", line).level(Level::Verbatim)
    }

    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Names what it is done to.
    #[must_use]
    pub fn about(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    #[must_use]
    pub fn took(mut self, duration: Duration) -> Self {
        self.duration_ms = Some(duration.as_millis() as u64);
        self
    }

    /// Hands it to the process's [`crate::NarrationLayer`], with the job of the current span.
    pub fn emit(self) {
        let level = match self.level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::Progress => "progress",
            Level::Verbatim => "verbatim",
        };
        macro_rules! emit {
            ($at:ident) => {
                tracing::$at!(
                    target: TARGET,
                    actor = self.actor,
                    action = self.action,
                    human = self.human,
                    level,
                    target_name = self.target,
                    job_id = self.job_id,
                    duration_ms = self.duration_ms,
                    at_ms = self.at_ms,
                )
            };
        }
        // Whoever looks on sees it; a log has no use for it.
        if self.level == Level::Progress { emit!(debug) } else { emit!(info) }
    }
}
