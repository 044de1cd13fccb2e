//! The tasks behind `./rbee`.
//!
//! `setup`, `test`, `tidy`, `bench`, `dist`, `fuzz-api`, `fuzz-freshness` and `fuzz-chain` are done here;
//! everything else is the keeper's, which is made fresh and becomes this process. Before either, xtask makes
//! sure that it is itself what its sources say.
//!
//! It knows nothing behind the keeper.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line")]

mod command; // what was asked for
mod flags; // the keeper's flags that count here too
mod failure; // errors as text and exit codes
mod itself; // xtask's own freshness
mod llama_cpp; // what cargo made of it, shared between checkouts
mod update; // one binary made fresh, narrated to stderr
mod workspace; // the checkout and its configuration
pub mod tasks; // one module for each task

pub use crate::{command::main, workspace::Workspace};
