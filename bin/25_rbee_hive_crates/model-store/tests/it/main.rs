//! The store as a hive uses it: real files, a real HTTP server on loopback, real pip.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server; // answers as it is told to, badly too
mod model; // GGUF files, small and whole
mod world; // a store of its own, and what it told
mod names; // what may be a name
mod gguf; // what may be a file
mod sets; // models of several files
mod pulls; // from a name to a file
mod resumes; // downloads that break off
mod refusals; // what must not be downloaded
mod python; // the source that is a Python package
mod stores; // list, find, remove
