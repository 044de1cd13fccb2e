//! What writers, readers and HTTP clients of jobs may rely on.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod jobs; // states, limits, cancelling
mod moving; // into another process
mod outliving; // what a journal is told, and gives back
mod reading; // order, replay, ends, under any interleaving
mod streaming; // frames on the wire
