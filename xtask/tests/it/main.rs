//! xtask and the script `rbee`, as whoever types `./rbee` sees them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world; // a checkout made up for one test, and the programs on its PATH
mod keeper; // itself, the keeper, and what happens when they are stale
mod measurements; // programs that measure, and random edits
mod script; // the shell script
mod setup; // tools found and installed
mod tests_task; // the runner of the tests
mod vllm; // installed, kept, replaced
mod tidy; // each rule, on a tree that breaks it
