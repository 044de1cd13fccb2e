//! What a client of each API sends, as a worker takes it; and what a worker sends, as that client does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod anthropic;
mod ollama;
mod responses;
mod paper; // docs/apis.md
mod worker; // what a worker sends
