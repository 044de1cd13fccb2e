//! What every worker answers, whatever computes its tokens: health, the lease, and its streams as
//! jobs that a hive reads again where another one stopped.
//!
//! A worker makes one [`WorkerService`], mounts its [`routes`](WorkerService::routes) beside its own,
//! and holds the lease for as long as it answers a request. What a completion is, is the worker's
//! own affair.

mod defaults; // what requests have where they say nothing
mod lease; // how long an unused worker stays
mod service; // the routes

pub use crate::{
    defaults::{Asked, Defaults, SettingsError},
    lease::{Hold, Lease},
    service::WorkerService,
};
