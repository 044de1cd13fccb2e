//! GGUF files by their paths.

use std::path::Path;

pub use gguf_file::{GgufSummary, Pooling, Problem, Purpose, parse};

use crate::error::Error;

/// Reads the header of the file at `path` and checks that the file holds what it announces.
///
/// # Errors
///
/// [`Error::Gguf`] names what is wrong with the file, and at which byte.
pub fn inspect(path: &Path) -> Result<GgufSummary, Error> {
    let inspected = gguf_file::open(path).and_then(|file| gguf_file::inspect(&file));
    inspected.map_err(|source| Error::Gguf { path: path.to_owned(), source })
}
