//! What a listener behind the guard answers, asked over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod server; // a guarded server and a client that sends what it is told to
mod names; // Host, Origin, Sec-Fetch-Site
mod bodies; // content types, sizes, JSON
mod refusals; // the envelope
mod tokens; // files and bearers
