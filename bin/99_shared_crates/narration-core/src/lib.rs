//! Narration: one line for each thing that a person would notice, carried over `tracing`.
//!
//! A crate that does something noticeable calls [`Narration::emit`]. Whoever owns the process
//! decides where that goes by installing a [`NarrationLayer`]: the keeper renders to its terminal,
//! a daemon forwards into the stream of the job that the work is for, which [`job_span`] names.
//!
//! This crate knows no file, no terminal and no network.

mod event; // what is narrated
mod layer; // from tracing to a sink
mod render; // a narration as one line of text
mod first_run; // from a fresh clone to the first answer
pub mod lines; // the lines whose wording is a contract

pub use crate::{
    event::{Level, Narration},
    first_run::Step,
    layer::{NarrationLayer, job_span},
    render::{human, json},
};

/// The `tracing` target of narrations and of the spans that give them a job.
pub const TARGET: &str = "narration";
