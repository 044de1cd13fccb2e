#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chat;
mod completions;
mod engine;
mod process;
mod refusals;
mod reference;
mod streams; // resumed and ended by name
mod support;
