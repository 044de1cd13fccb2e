//! What outlives a queen of her jobs: which there were, how they ended, and of those that were accepted
//! to be done in any case the request, and later the answer.
//!
//! [`JobJournal`] is a file of SQLite's, which two generations of a queen may write at the same time:
//! each row has a holder, the process that does the job, and only that one writes to it. What a
//! holder leaves that has died is [claimed](JobJournal::claim) by the one that serves. One thread
//! writes; whoever tells it something does not wait, but for the word that a job is accepted.
//!
//! It is bounded in rows, bytes and age. A file that cannot be read is put aside, and one that cannot be
//! written costs the journal and no job.

mod kept; // what is kept, and within what bounds
mod error; // why a job is not accepted
mod store; // the file
mod thread; // who writes it
mod journal; // who is told

pub use crate::{
    error::Error,
    journal::{Accepted, JobJournal},
    kept::{Bounds, Keep},
    store::Left,
};
