use std::io::{self, Read, Seek};

/// No header of a model comes near it; a file that claims more is not worth reading further.
const MAX_HEADER_LEN: u64 = 1 << 30;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("cannot read at byte {at}")]
    Read { at: u64, source: io::Error },
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is empty")]
    Empty,
    #[error("it is no GGUF file: it begins with `{found}` and not with `GGUF`")]
    NotGguf { found: String },
    #[error("it is a GGUF file for big-endian machines")]
    BigEndian,
    #[error("its GGUF version is {version}; 2 and 3 are supported")]
    Version { version: u32 },
    #[error("it is truncated: {what} at byte {at} needs {needed} bytes and the file has {len}")]
    Truncated { what: String, at: u64, needed: u64, len: u64 },
    #[error("it claims {count} {what} at byte {at}, more than {most}, the most that it can have")]
    TooMany { what: String, count: u64, at: u64, most: u64 },
    #[error("{what} at byte {at} claims a length of {length}; the most is {most}")]
    TooLong { what: String, at: u64, length: u64, most: u64 },
    #[error("its header is longer than {MAX_HEADER_LEN} bytes")]
    HeaderTooLong,
    #[error("{what} at byte {at} is not UTF-8 text")]
    NotText { what: String, at: u64 },
    #[error("`{key}` at byte {at} has the type {value_type}, which does not exist")]
    UnknownType { key: String, at: u64, value_type: u32 },
    #[error("the key `{key}` at byte {at} occurs twice")]
    DuplicateKey { key: String, at: u64 },
    #[error("its key `{key}` is missing or not {expected}")]
    BadKey { key: &'static str, expected: &'static str },
    #[error("it is one of {count} files of a split model; a model has to be one file")]
    Split { count: u64 },
    #[error("it holds no tensors")]
    NoTensors,
    #[error("the tensor `{tensor}` at byte {at} {problem}")]
    Tensor { tensor: String, at: u64, problem: String },
    #[error("it is truncated: the tensor `{tensor}` ends at byte {end} and the file at byte {len}")]
    TensorOutside { tensor: String, end: u64, len: u64 },
}

/// A reader that knows where it is and never goes past the end.
pub(crate) struct Header<R> {
    input: R,
    at: u64,
    len: u64,
}

impl<R: Read + Seek> Header<R> {
    pub(crate) fn new(input: R, len: u64) -> Self {
        Self { input, at: 0, len }
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Problem> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Result<u64, Problem> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    /// A number of things that take at least `min_len` bytes each.
    ///
    /// One that the rest of the file has no room for is refused here, before anybody allocates or
    /// loops by it.
    pub(crate) fn count(&mut self, what: &str, most: u64, min_len: u64) -> Result<u64, Problem> {
        let at = self.at;
        let count = self.u64(&format!("the number of {what}"))?;
        let most = most.min((self.len - self.at) / min_len);
        if count > most {
            return Err(Problem::TooMany { what: what.to_owned(), count, at, most });
        }
        Ok(count)
    }

    pub(crate) fn text(&mut self, what: &str, most: u64) -> Result<String, Problem> {
        let at = self.at;
        let length = self.u64(&format!("the length of {what}"))?;
        if length > most {
            return Err(Problem::TooLong { what: what.to_owned(), at, length, most });
        }
        self.room(length, what)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, what)?;
        String::from_utf8(bytes).map_err(|_not_text| Problem::NotText { what: what.to_owned(), at })
    }

    /// A text of at most `most` bytes, whatever they are; a longer one is passed over.
    pub(crate) fn short_text(&mut self, what: &str, most: u64) -> Result<Option<Vec<u8>>, Problem> {
        let length = self.u64(what)?;
        if length > most {
            return self.skip(length, what).map(|()| None);
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, what)?;
        Ok(Some(bytes))
    }

    pub(crate) fn skip_text(&mut self, what: &str) -> Result<(), Problem> {
        let length = self.u64(what)?;
        self.skip(length, what)
    }

    pub(crate) fn skip(&mut self, length: u64, what: &str) -> Result<(), Problem> {
        self.room(length, what)?;
        let distance = i64::try_from(length).map_err(|_too_long| Problem::HeaderTooLong)?;
        let moved = self.input.seek_relative(distance);
        moved.map_err(|source| Problem::Read { at: self.at, source })?;
        self.at += length;
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), Problem> {
        self.room(bytes.len() as u64, what)?;
        let read = self.input.read_exact(bytes);
        read.map_err(|source| Problem::Read { at: self.at, source })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn room(&self, needed: u64, what: &str) -> Result<(), Problem> {
        if needed > self.len - self.at {
            let (what, at, len) = (what.to_owned(), self.at, self.len);
            return Err(Problem::Truncated { what, at, needed, len });
        }
        if self.at + needed > MAX_HEADER_LEN {
            return Err(Problem::HeaderTooLong);
        }
        Ok(())
    }
}
