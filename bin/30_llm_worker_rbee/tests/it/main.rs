#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod carry; // conversations, on to another worker
mod chat;
mod completions;
mod constraints;
mod continuations; // of what another worker has begun
mod embeddings;
mod engine;
mod process;
mod refusals;
mod ranks;
mod reasoning;
mod reference;
#[cfg(target_os = "linux")]
mod sandbox; // what a stranger's file cannot do
mod settings;
mod speculative;
mod streams; // resumed and ended by name
mod support;
mod tokens;
mod tools;
