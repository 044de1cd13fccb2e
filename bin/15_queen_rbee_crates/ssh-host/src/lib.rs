//! Another machine, by the `ssh` of the person whose process this is: with their configuration, keys,
//! agents and jump hosts.
//!
//! [`Link::open`] makes one connection. Over that commands run there, files go there, and
//! a Unix socket there is reached by one here, so that nothing has to listen on a network. A host key
//! that is not known is refused, whatever the configuration says, and nobody is ever asked for a
//! password. What is run there, and what for, is not known here.
//!
//! The connection lives as long as the value and no longer than the process: the far end of it reads a
//! pipe that closes with either. What comes back through that pipe tells a host that is silent from a
//! program there that is.

mod host; // who is reached, and how ssh is told
mod link; // one connection
mod quote; // words for a shell
mod error;

pub use crate::{
    error::Error,
    host::SshHost,
    link::Link,
    quote::quoted, // (text) -> a word that every shell takes as it is
};
