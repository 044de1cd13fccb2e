//! rbee-keeper: what a person at a terminal says to rbee, and what they are shown.
//!
//! [`Cli`] is what was typed, [`run()`] does it. The keeper makes sure of the queen through
//! queen-lifecycle and then only speaks HTTP with it; hives and workers are the queen's business.
//! Answers and lists go to standard output, everything else to standard error.

mod cli; // flags and help texts
mod known; // what there is to be named
mod completion; // what a shell completes
mod called; // how this program is called
mod run; // one verb from configuration to exit
mod commands; // one file for each verb
mod app; // what every verb is given
mod answer; // a model's answer from its chunks
mod job; // a job's events, across broken connections
mod client; // the queen's HTTP interface
mod chain; // the binaries of the chain and whether they are fresh
mod chat; // what is said in a talk, and how it is typed
mod dev; // what is known while edits are watched
mod service; // systemd and launchd
mod tail; // the end of a file that others write to
mod terminal; // the one way to standard output and standard error
mod render; // values to text
mod failure; // errors, exit codes, hints

pub use crate::{
    cli::Cli,
    completion::complete, // () -> whether a shell has asked
    failure::{Failure, Kind},
    render::Paint,
    run::run, // (Cli) -> Result<(), Failure>
};
