//! Functions that a model may call instead of answering, and how its text says that it does.
//!
//! A model writes its calls as text, in the notation that it was trained on. Which one that is, its
//! chat template shows: [`Notation::of_template`]. [`CallStream`] finds the calls in the text while it
//! comes; a grammar holds the model to the notation where it must call, and to the arguments' schemas.

mod notation; // how calls are written
mod format; // calls that are objects
mod named; // calls whose function is named before their arguments
mod gemma; // arguments that are not JSON
mod piece; // a part of an answer
mod calls; // text to text and calls
mod stream; // the same, for objects
mod object; // one call's JSON, piece by piece
mod grammar; // what calls must look like
mod told; // for templates that show no tools

pub(crate) use self::{
    calls::CallStream,
    grammar::{of_calls, of_opened},
    notation::Notation,
    piece::Piece,
    told::tell,
};
#[cfg(test)]
use self::{format::Format, named::Named};

use crate::json::Json;

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The schema of its arguments; `None` for none.
    pub(crate) parameters: Option<Json>,
}
