//! The real keeper against a scripted queen.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod queen; // a queen that says what it is told to
mod keeper; // runs the binary in a world of its own
mod infer; // tokens, errors, exit codes
mod streams; // broken connections, interrupts, readers that leave
mod narration; // modes, progress
mod terminal; // what a person sees
mod chat;
mod lists; // tables and JSON
mod doctor; // what this machine lacks
mod files; // logs, config
mod dev; // edits of a small workspace
mod service; // against a systemctl of its own
mod store; // built binaries
mod release; // what an installed one has, and how it is replaced
mod completion; // words in a real bash
mod documents; // commands in documents and in the help
mod usage; // help, completions, what is not a verb
