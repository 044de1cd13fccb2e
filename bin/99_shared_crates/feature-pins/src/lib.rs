//! Nothing but dependencies: what keeps each of them to one variant.
//!
//! Cargo compiles a crate with the features that all packages of one command ask for together. A
//! binary that is built alone, as `./rbee` does, and the same binary built with the whole
//! workspace, as `./rbee test` does, would so get different variants of a crate: each command
//! would compile and link what the other just did, llama.cpp included. Every binary depends on
//! this crate, and this crate on everything for which the answers differ, with the features of the
//! whole. Nothing is called, so nothing is linked.
//!
//! `./rbee tidy` says what is missing here.
