//! Functions that a model may call instead of answering, and how its text says that it does.
//!
//! A model writes its calls as text, in the notation that it was trained on. Which one that is, its
//! chat template shows: [`Format::of_template`]. [`CallStream`] finds the calls in the text while it
//! comes; a grammar holds the model to the notation and to the arguments' schemas where it must call.

mod format; // the notations
mod grammar; // what calls must look like
mod object; // one call's JSON, piece by piece
mod stream; // text to text and calls
mod told; // for templates that show no tools

pub(crate) use self::{
    format::Format,
    grammar::{of_calls, schema},
    stream::{CallStream, Piece},
    told::tell,
};

use crate::json::Json;

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The schema of its arguments; `None` for none.
    pub(crate) parameters: Option<Json>,
}
