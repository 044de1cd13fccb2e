//! The header of a GGUF file, read with a bound on everything that it claims.
//!
//! A model's file comes from a stranger. What [`inspect`] accepts is whole: every string, count
//! and tensor that the header announces lies inside of the file. It looks at an open file, so that
//! whoever loads what was inspected can load the same.

mod header; // bounded reading of numbers and strings
mod metadata; // the key-value pairs
mod purpose; // what a model was made for
mod template; // what its template for chats shows
mod tensors; // names, shapes, places
mod vocabulary; // tokens that are looked for

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{BufReader, Read, Seek},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

use header::Header;
use metadata::Metadata;

pub use crate::{
    header::Problem,
    purpose::{Pooling, Purpose},
    template::{Template, ThoughtTags, shows_tools}, // (Jinja text) -> bool
};

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
    pub purpose: Purpose,
    /// Whether a token sees earlier ones only.
    pub causal: bool,
    /// Whether it was made to say what lies between two texts.
    pub fills_gaps: bool,
    /// Its templates for chats by their names; the usual one has none.
    pub templates: BTreeMap<String, Template>,
    pub tensor_count: u64,
    /// Bytes of weights.
    pub tensor_bytes: u64,
    /// Bytes of the file.
    pub file_size: u64,
}

/// Opens the file at `path` for reading; waits for nobody, whatever is there.
///
/// # Errors
///
/// [`Problem::Read`], and [`Problem::NotAFile`] for a folder, a pipe or a device.
pub fn open(path: &Path) -> Result<File, Problem> {
    let read = |source| Problem::Read { at: 0, source };
    // A named pipe would wait for its writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if metadata.is_file() { Ok(file) } else { Err(Problem::NotAFile) }
}

/// Reads the header of `file` from its start and checks that the file holds what it announces.
///
/// # Errors
///
/// What is wrong with the file, and at which byte.
pub fn inspect(file: &File) -> Result<GgufSummary, Problem> {
    let read = |source| Problem::Read { at: 0, source };
    let length = file.metadata().map_err(read)?.len();
    let mut file = file;
    file.rewind().map_err(read)?;
    parse(BufReader::with_capacity(BUFFER_LEN, file), length)
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
