//! Jobs that outlive the queen that accepted them.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use chain_level::{Start, to_its_end};
use daemon_lifecycle::{Identity, State};
use http_guard::ApiError;
use job_journal::{Accepted, Bounds, JobJournal, Keep, Left};
use job_server::{JobId, NewJob};
use rbee_api::{ErrorBody, ErrorCode, JobRequest};
use rbee_config::{HistoryMode, LiveConfig, RbeeConfig};
use tokio::time::{MissedTickBehavior, interval};

use crate::{Queen, failure};

/// How often it is looked for what other processes have left.
const ROUND: Duration = Duration::from_millis(2500);

/// For how long what was accepted is still wanted after whoever accepted it has ended.
const STILL_WANTED: Duration = Duration::from_hours(24);

/// The file's name in the state folder. Another version of its tables gets another name: two versions
/// of the queen may have it open at the same time.
const FILE: &str = "jobs-1.sqlite";

/// The journal of the queen that `identity` is, as the configuration asks for.
///
/// # Errors
///
/// When the system has no thread left.
pub fn open_journal(config: &LiveConfig, identity: &Identity) -> std::io::Result<JobJournal> {
    let config = config.current();
    let holder = serde_json::to_string(identity)?;
    let is_alive = |holder: &str| {
        serde_json::from_str::<Identity>(holder).is_ok_and(|identity| identity.is_alive())
    };
    JobJournal::open(config.paths.state.join(FILE), holder, is_alive, kept(&config))
}

fn kept(config: &RbeeConfig) -> (Keep, Bounds) {
    let keep = match config.queen.history {
        HistoryMode::Answers => Keep::Answers,
        HistoryMode::Names => Keep::Names,
        HistoryMode::Nothing => Keep::Nothing,
    };
    (keep, Bounds { age: config.queen.history_age, ..Bounds::default() })
}

impl Queen {
    /// Begins the work that `request` asks for, once it is written down: should this queen die, the next
    /// one goes on with it.
    ///
    /// # Errors
    ///
    /// A completion that cannot be read; and when there is no room for another job.
    pub(crate) async fn accept(
        &self,
        headers: HeaderMap,
        request: JobRequest,
    ) -> Result<JobId, ApiError> {
        let queen = self.clone();
        // What is written down begins, even if who asked for it goes away meanwhile.
        Ok(to_its_end(async move { queen.accept_to_its_end(&headers, request).await }).await?)
    }

    async fn accept_to_its_end(
        &self,
        headers: &HeaderMap,
        request: JobRequest,
    ) -> Result<JobId, ErrorBody> {
        let (id, operation) = (JobId::generate(), request.operation());
        let Some(journal) = &self.journal else {
            return Ok(self.begin(operation.into(), headers, request)?);
        };
        let text = serde_json::to_string(&request).map_err(ApiError::internal)?;
        let accepted =
            Accepted { id, operation: operation.to_owned(), subject: None, request: text };
        let kept = journal.accept(accepted).await.map_err(|error| failure::journal(&error))?;
        let begun = self.begin(Start::named(id, operation, kept), headers, request);
        if begun.is_err() && kept {
            journal.discard(id);
        }
        Ok(begun?)
    }

    /// While this queen serves, goes on with what queens before it have left, and ends with a reason what
    /// nobody can go on with. Never returns; to be run beside serving.
    pub async fn keep_accepted(&self) -> ! {
        let Some(journal) = &self.journal else { std::future::pending().await };
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = kept(&self.config.current());
        loop {
            rounds.tick().await;
            let now = kept(&self.config.current());
            if std::mem::replace(&mut known, now) != now {
                journal.follow(now.0, now.1);
            }
            if self.daemon.state() == State::Serving {
                self.go_on_with_what_is_left(journal).await;
            }
        }
    }

    /// Takes over what processes were doing that are no more.
    pub async fn go_on_with_what_is_left(&self, journal: &JobJournal) {
        for left in journal.claim().await {
            let Left { id, operation, created_at, request, note } = left;
            let Some(request) = request else {
                // Its reader may still have it gone on with, who knows where it came from.
                journal.fail(id, "the queen that answered it has ended in the middle of it");
                continue;
            };
            if let Err(why) = self.go_on(id, created_at, &request, note.as_deref()) {
                tracing::info!(%id, why, "a job of a queen that is no more ends");
                self.end_as_failed(id, &operation, why);
            }
        }
    }

    /// # Errors
    ///
    /// Why it is not gone on with.
    fn go_on(
        &self,
        id: JobId,
        accepted_at: SystemTime,
        request: &str,
        note: Option<&str>,
    ) -> Result<(), String> {
        let age = accepted_at.elapsed().unwrap_or_default();
        if age > STILL_WANTED {
            let hours = age.as_secs() / 3600;
            return Err(format!("no queen ran for it: it was accepted {hours} h ago"));
        }
        let request: JobRequest = serde_json::from_str(request)
            .map_err(|error| format!("what was asked for cannot be read any more: {error}"))?;
        if let JobRequest::HiveStop { .. } = request {
            return Err(
                "the queen has ended while it stopped a hive; ask for that again".to_owned()
            );
        }
        let start = Start::named(id, request.operation(), true).behind(note);
        let begun = self.begin(start, &HeaderMap::new(), request);
        begun.map(drop).map_err(|error| format!("it cannot be begun again: {}", error.message()))
    }

    /// Ends a job that is nobody's.
    fn end_as_failed(&self, id: JobId, operation: &str, why: String) {
        match self.relays.jobs().begin(NewJob { id, operation, kept: true }) {
            Ok(job) => job.fail_with(ErrorBody::new(ErrorCode::UpstreamLost, why)),
            Err(error) => tracing::warn!(%id, %error, "a job that has ended cannot be told of"),
        }
    }
}
