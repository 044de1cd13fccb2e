//! The queen: one address for everything that rbee serves.
//!
//! It makes a job of each request, chooses a hive for it, brings that hive up where need be, and
//! passes the hive's answer on. It knows hives by their aliases and their HTTP, and nothing of
//! models' files or of workers.

mod queen; // the parts, put together
mod failure; // errors as the client is told them
mod hosts; // where hives are brought up
mod hives; // hives by alias
mod work; // what a job does
mod accepted; // jobs that outlive the queen
mod lookout; // what happens, for whoever looks on
mod http; // routes
mod tls; // what goes before HTTP, for other machines

pub use crate::{
    accepted::open_journal, // (&LiveConfig, &Identity) -> JobJournal
    hosts::Hosts,
    http::router, // (Queen, port) -> Router
    queen::Queen, // the parts of a queen, put together
    tls::Tls,     // (LiveConfig)
};
