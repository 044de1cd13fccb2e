//! The journal with real files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod keeping; // what is in the file, and what no longer is
mod leaving; // one process dies, another goes on
mod world; // processes that share a file
