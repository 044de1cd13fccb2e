//! The workers' binaries, with a program in vLLM's place that does what goes wrong with vLLM.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support; // a worker, and what its engine says of itself

mod external; // any server
mod life; // start, hand-over, end
mod faults; // what goes wrong
mod parts; // several that compute one model together
mod streams; // answers
