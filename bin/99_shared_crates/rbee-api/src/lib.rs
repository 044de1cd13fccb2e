//! What the processes of rbee say to one another over HTTP: types, paths, codes and header names.
//!
//! Nothing here performs I/O, decides anything or depends on another crate of rbee.
//! OpenAI's bodies are not modelled: the worker reads and writes them, and every process between
//! it and the client passes the bytes on.

pub mod paths; // each path once, for routers and clients
pub mod carry; // conversations on their way to another worker
mod code; // what went wrong, as a program tells it apart
mod error; // the body of every refusal
mod causes; // an error on one line
mod continuation; // an answer whose worker has ended
mod request; // what a job is asked to do
mod jobs; // work with a stream of events
mod stream; // the events of that stream
mod health; // who answers, and from which binary
mod hives; // hosts, as the queen lists them
mod keys; // who else may use the chain
mod keep_alive; // how long a model stays loaded
mod models; // names, files, sources
mod workers; // processes that serve one model
mod parts; // those that compute one together
mod settings; // what such a process is told of its model
mod watch; // what whoever looks on is told

pub use crate::{
    causes::causes, // (&dyn Error) -> String
    code::{ErrorCode, ForeignCode, error_kind},
    continuation::Continuation,
    error::{ErrorBody, ErrorDetail},
    health::{Health, Status},
    hives::{Capabilities, Device, Hive, HiveInstalled, HiveList, HiveState},
    jobs::{JobCreated, JobEnd, JobInfo, JobList, JobRemains, JobState, Origin, Progress},
    keep_alive::KeepAlive,
    keys::{KeyCreated, KeyInfo, KeyList, KeyRequest, KeyScope, ModelReach},
    models::{
        Ability, LoadRequest, Model, ModelList, ModelRemoved, ModelUnloaded, PullRequest, Sampling,
        UnloadRequest,
    },
    parts::{EngineLost, Part},
    request::JobRequest,
    settings::{ModelSettings, TemplateSetting},
    stream::{Malformed, StreamEvent, event},
    watch::{BinarySeen, Freshness, Leaving, QueenSeen, UnderWay, seen},
    workers::{
        Lease, Worker, WorkerKind, WorkerList, WorkerState, jobs_socket, jobs_sockets, lease_socket,
    },
};

/// Asks a chat or completion endpoint for ids and `narration`, `progress` events between the
/// chunks: `x-rbee-events: 1`. Without it the stream is OpenAI's to the letter.
pub const HEADER_EVENTS: &str = "x-rbee-events";

/// Asks for an answer from processes whose binaries are fresh, waiting for builds and
/// replacements where need be: `x-rbee-fresh: 1`. Without it a request is served by what runs, and
/// what is stale is replaced beside it.
pub const HEADER_FRESH: &str = "x-rbee-fresh";

/// Gives up a part of what the request's sender may name: a [`ModelReach`]. A queen says by it what
/// its own client may, whose request it passes on.
pub const HEADER_MODELS: &str = "x-rbee-models";

/// Who asks, as far as turns go: `owner`, `user:1001`, `key:NAME`. A queen says it of her client, whatever that
/// one says of itself.
pub const HEADER_CALLER: &str = "x-rbee-caller";

/// Names the job behind a response, for `GET /v1/jobs/{id}` and `DELETE /v1/jobs/{id}`.
pub const HEADER_JOB: &str = "x-rbee-job";

/// Which owner of a job reads or ends it: `x-rbee-owner: 1`. Whoever began it is 0, and who goes on
/// with it in that one's place is one more. From the first request of a later owner on, an earlier one
/// cannot end the job; who does not say may.
pub const HEADER_OWNER: &str = "x-rbee-owner";

/// Names a request in logs and answers, from whoever began it down to the worker: `x-request-id`.
pub const HEADER_REQUEST_ID: &str = "x-request-id";

/// Lists the members of a request's body that were not read, so that a client can see what had no
/// effect.
pub const HEADER_IGNORED: &str = "x-rbee-ignored";
