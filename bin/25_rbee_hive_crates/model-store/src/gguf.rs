//! The header of a GGUF file, read with a bound on everything that it claims.
//!
//! A model's file comes from a stranger. What [`inspect`] accepts is whole: every string, count
//! and tensor that the header announces lies inside of the file.

mod header; // bounded reading of numbers and strings
mod metadata; // the key-value pairs
mod tensors; // names, shapes, places

use std::{
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

use crate::error::Error;
use header::Header;
pub use header::Problem;
use metadata::Metadata;

const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const MAX_KEYS: u64 = 65_536;
const MAX_TENSORS: u64 = 262_144;
/// The least that one key takes: the length of its name, a character, its type, a byte.
const MIN_KEY_LEN: u64 = 8 + 1 + 4 + 1;
/// The least that one tensor takes: the length of its name, dimensions, type, offset.
const MIN_TENSOR_LEN: u64 = 8 + 4 + 4 + 8;
/// Fits the vocabularies of all models there are, several times over.
const BUFFER_LEN: usize = 256 * 1024;

/// What a model's file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GgufSummary {
    /// Such as `llama` or `qwen2`.
    pub architecture: String,
    pub name: Option<String>,
    /// Tokens of context that the model was made for.
    pub context_length: Option<u64>,
    pub block_count: Option<u64>,
    pub embedding_length: Option<u64>,
    /// Heads of attention.
    pub head_count: Option<u64>,
    /// Heads that keep keys and values; `None` where each one does.
    pub head_count_kv: Option<u64>,
    /// Whether it carries a template for chats.
    pub chat_template: bool,
    pub tensor_count: u64,
    /// Bytes of weights.
    pub tensor_bytes: u64,
    /// Bytes of the file.
    pub file_size: u64,
}

/// Reads the header of the file at `path` and checks that the file holds what it announces.
///
/// # Errors
///
/// [`Error::Gguf`] names what is wrong with the file, and at which byte.
pub fn inspect(path: &Path) -> Result<GgufSummary, Error> {
    let failed = |source| Error::Gguf { path: path.to_owned(), source };
    let file = File::open(path).map_err(|source| failed(Problem::Read { at: 0, source }))?;
    let metadata = file.metadata().map_err(|source| failed(Problem::Read { at: 0, source }))?;
    if !metadata.is_file() {
        return Err(failed(Problem::NotAFile));
    }
    parse(BufReader::with_capacity(BUFFER_LEN, file), metadata.len()).map_err(failed)
}

/// As [`inspect`], from a reader at the start of `len` bytes.
pub fn parse(input: impl Read + Seek, len: u64) -> Result<GgufSummary, Problem> {
    let mut header = Header::new(input, len);
    if len == 0 {
        return Err(Problem::Empty);
    }
    let magic = header.bytes("the magic number")?;
    if magic != MAGIC {
        return Err(Problem::NotGguf { found: magic.escape_ascii().to_string() });
    }
    let version = header.u32("the version")?;
    if VERSIONS.contains(&version.swap_bytes()) {
        return Err(Problem::BigEndian);
    }
    if !VERSIONS.contains(&version) {
        return Err(Problem::Version { version });
    }
    let tensor_count = header.count("tensors", MAX_TENSORS, MIN_TENSOR_LEN)?;
    let key_count = header.count("keys", MAX_KEYS, MIN_KEY_LEN)?;
    let metadata = Metadata::read(&mut header, key_count)?;
    let tensor_bytes = tensors::check(&mut header, tensor_count, metadata.alignment()?)?;
    metadata.summary(tensor_count, tensor_bytes, len)
}
