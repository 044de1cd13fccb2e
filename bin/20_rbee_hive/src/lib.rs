//! The hive: everything that rbee runs on one host.
//!
//! It answers for this host's models, devices and workers, brings up a worker for the model that a
//! request names, and passes the worker's answer on. It knows nothing of the queen that asks.

mod hive; // the parts, put together
mod devices; // what the host computes with
mod failure; // errors as the client is told them
mod host; // the machine: processes and memory
mod models; // the store, with its downloads told to the job that waits for them
mod workers; // workers by model
mod room; // memory for one more model
mod http; // routes

pub use crate::{
    hive::Hive, // the parts of a hive, put together
    host::Host,
    http::router, // (Hive, port) -> Router
};
