use serde::{Deserialize, Serialize};
use serde_json::Value;

/// SSE event names of a job's stream. Chunks of a language model's answer are unnamed `data:`
/// frames, as OpenAI sends them.
pub const EVENT_NARRATION: &str = "narration";
pub const EVENT_PROGRESS: &str = "progress";
pub const EVENT_RESULT: &str = "result";
pub const EVENT_ERROR: &str = "error";
/// Where the chunks that follow come from; its data is an [`Origin`]. For whoever outlives the
/// process that relays them.
pub const EVENT_ORIGIN: &str = "origin";
/// Always the last event of a stream, once; its data is a [`JobEnd`].
pub const EVENT_END: &str = "end";

/// The constant that reads like `name`, where there is one.
pub fn event_name(name: &str) -> Option<&'static str> {
    [EVENT_NARRATION, EVENT_PROGRESS, EVENT_RESULT, EVENT_ERROR, EVENT_ORIGIN, EVENT_END]
        .into_iter()
        .find(|known| *known == name)
}

/// The body of `POST /v1/jobs`. Work starts at once; the answer is a [`JobCreated`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "snake_case", deny_unknown_fields)]
pub enum JobRequest {
    /// `request` is the body of `POST /v1/chat/completions`; the events are its stream.
    ChatCompletion { request: Value },
    /// `request` is the body of `POST /v1/completions`.
    Completion { request: Value },
    /// Starts the hive, building it when it is stale, and replaces one that runs stale.
    HiveStart { alias: Option<String> },
    /// Stops the hive and its workers; `now` cuts the requests under way.
    HiveStop {
        alias: Option<String>,
        #[serde(default)]
        now: bool,
    },
    /// Brings a model into a hive's store.
    ModelPull { hive: Option<String>, model: String },
    /// Brings every level below the queen up to date; its result is an [`crate::HiveList`].
    ChainUpdate {},
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCreated {
    pub job_id: String,
    /// Path of the job's event stream on the same server.
    pub sse_url: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobList {
    pub jobs: Vec<JobInfo>,
}

/// The answer to `GET /v1/jobs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobInfo {
    pub job_id: String,
    pub operation: String,
    pub state: JobState,
    /// Why it failed.
    pub error: Option<String>,
    /// The id of the last event so far.
    pub last_event_id: u64,
    pub created_at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// The data of the `end` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    pub state: JobState,
}

/// A job of the next level whose events go into one of ours.
///
/// As the data of an `origin` event it is true before the next chunk; with each chunk, it and its own
/// origin are one event on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who has it: a hive's alias, a worker's id.
    pub at: String,
    pub job_id: String,
    /// The last of its events that ours has; 0 before the first.
    pub last_event_id: u64,
    /// Where the next level has it from in its turn, as far as it has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Self>>,
}

/// The body of `PUT /v1/jobs/{id}`: what the reader of a job has whose process died, for another one
/// to go on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRemains {
    pub last_event_id: u64,
    pub origin: Origin,
}

impl Origin {
    /// Notes that a chunk has come.
    pub fn advance(&mut self) {
        self.last_event_id += 1;
        if let Some(origin) = &mut self.origin {
            origin.advance();
        }
    }
}

/// The data of a `progress` event: something countable is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being brought, such as a model's name; one bar for each.
    pub target: String,
    pub done_bytes: u64,
    /// `None` while the size is unknown.
    pub total_bytes: Option<u64>,
}
