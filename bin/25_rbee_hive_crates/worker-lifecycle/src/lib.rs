//! What a hive knows about workers: how to spawn one, adopt those that run, and stop them.
//!
//! A worker serves one model on a Unix socket in its instance's folder. It outlives the hive that
//! spawned it: the next hive finds it by its instance and goes on with it.

mod config; // which worker
mod client; // HTTP over the worker's socket
mod error;
mod kind; // what computes the tokens
mod engine; // another program that does
mod failures; // engines that did not start
mod settings; // what it is told of its model
mod spawn; // spawn, or take what runs
mod carry; // conversations from one to the next
mod running; // find and stop

pub use crate::{
    carry::Conversations,
    client::{Served, WorkerClient},
    config::{WorkerConfig, worker_id},
    engine::{memory_bytes, overhead_bytes, shares_engine},
    error::Error,
    kind::WorkerType,
    running::{is_alive_for, is_taken, running_workers, stop_worker, stop_workers_of},
    settings::read_template, // (&ChatTemplate) -> Result<TemplateSetting, Error>
    spawn::{WorkerHandle, build_worker, distrust, has_inputs_of, spawn_worker, worker_is_current},
};
