//! Reads a job's stream across broken connections and processes that die: no event is missed, none is
//! seen twice, and half an answer is never taken for a whole one.
//!
//! Two read jobs: each level of the chain, of the next one, and the person's terminal, of the queen.
//! [`EventStream`] is one response. [`Reading`] is what has come so far over all of them: what it
//! [takes](Reading::take) it gives on, or keeps for itself, or it says that the job has ended and
//! whether its answer is whole. When a response breaks off, [`read_on`] asks whoever answers now for the
//! rest, and where that process has never heard of the job, tells it where the one that died had it
//! from.

mod events; // one response
mod ending; // when an answer is whole
mod tries; // how often in a row something is tried again
mod reading; // what has come so far
mod source; // who is asked for the rest

pub use crate::{
    ending::Unfinished,
    events::{Broken, EventStream, Received},
    reading::{Reading, Taken},
    source::{NotRead, Source, cancel, read_on},
    tries::Tries,
};
