use std::{
    fs::File,
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use llama_cpp_2::token::LlamaToken;
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::engine::{Carried, Origin, State};

/// What a file begins with; another number for another form.
const MAGIC: &[u8; 8] = b"rbee-kv1";
/// Bytes of a head at most.
const HEAD_MAX: u32 = 16 * 1024;
const HASH_LEN: u64 = blake3::OUT_LEN as u64;
const TOKEN_LEN: u64 = size_of::<i32>() as u64;

/// What is said of a conversation before it.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    origin: Origin,
    tokens: u32,
    state_bytes: u64,
    /// Since it was last gone on with.
    unused_ms: u64,
}

/// What a conversation must be like to be kept.
#[derive(Debug, Clone)]
pub(super) struct Fits {
    pub(super) origin: Origin,
    /// Tokens at most.
    pub(super) context: u32,
    /// Tokens that the model knows.
    pub(super) vocabulary: u32,
    /// Bytes that there is memory for.
    pub(super) bytes: u64,
}

/// Why a conversation is not kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it cannot be read")]
    Unreadable { source: io::Error },
    #[error("it is no file")]
    NoFile,
    #[error("it is in another version's form")]
    Form,
    #[error("it says of itself what cannot be")]
    Malformed,
    #[error("it was computed by another llama.cpp")]
    Build,
    #[error("it was computed with another model, or another state of the model's file")]
    Model,
    #[error("it was computed with other settings of the context")]
    Context,
    #[error("it has {bytes} bytes, and there is memory for {most}")]
    TooLarge { bytes: u64, most: u64 },
    #[error("it has {found} bytes instead of {stated}")]
    Cut { found: u64, stated: u64 },
    #[error("it was damaged on its way")]
    Damaged,
}

/// Writes a conversation into a file that is in memory only.
pub(super) fn pack(carried: &Carried, origin: &Origin) -> io::Result<File> {
    let file = File::from(memfd_create("conversation", MemfdFlags::CLOEXEC)?);
    let mut hashed = Hashed { to: &file, hasher: blake3::Hasher::new() };
    write(carried, origin, &mut hashed)?;
    let hash = hashed.hasher.finalize();
    (&file).write_all(hash.as_bytes())?;
    Ok(file)
}

fn write(carried: &Carried, origin: &Origin, to: &mut impl Write) -> io::Result<()> {
    let state = carried.state.bytes();
    let unused = carried.used.elapsed().as_millis();
    let head = Head {
        origin: origin.clone(),
        tokens: u32::try_from(carried.tokens.len()).map_err(io::Error::other)?,
        state_bytes: state.len() as u64,
        unused_ms: u64::try_from(unused).unwrap_or(u64::MAX),
    };
    let head = serde_json::to_vec(&head)?;
    let head_len = u32::try_from(head.len()).map_err(io::Error::other)?;
    let tokens: Vec<u8> = carried.tokens.iter().flat_map(|token| token.0.to_le_bytes()).collect();
    to.write_all(MAGIC)?;
    to.write_all(&head_len.to_le_bytes())?;
    to.write_all(&head)?;
    to.write_all(&tokens)?;
    to.write_all(state)
}

/// Reads a conversation, if it is whole and fits. Nobody's changing the file meanwhile does any harm:
/// what is looked at is what is kept.
pub(super) fn unpack(file: &File, fits: &Fits) -> Result<Carried, Unfit> {
    let unreadable = |source| Unfit::Unreadable { source };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Unfit::NoFile);
    }
    let (bytes, most) = (metadata.len(), fits.bytes);
    if bytes > most {
        return Err(Unfit::TooLarge { bytes, most });
    }
    // Whoever has written it has left off at its end.
    let mut from = Hashed { to: At { file, offset: 0 }, hasher: blake3::Hasher::new() };
    let cut = |stated: u64| move |_: io::Error| Unfit::Cut { found: bytes, stated };
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(cut(MAGIC.len() as u64))?;
    if magic != *MAGIC {
        return Err(Unfit::Form);
    }
    let before_head = (MAGIC.len() + size_of::<u32>()) as u64;
    let mut head_len = [0; size_of::<u32>()];
    from.read_exact(&mut head_len).map_err(cut(before_head))?;
    let head_len = u32::from_le_bytes(head_len);
    if head_len > HEAD_MAX {
        return Err(Unfit::Malformed);
    }
    let mut head = vec![0; head_len as usize];
    from.read_exact(&mut head).map_err(cut(before_head + u64::from(head_len)))?;
    let head: Head = serde_json::from_slice(&head).map_err(|_unread| Unfit::Malformed)?;
    require_like(&head.origin, &fits.origin)?;
    if head.tokens == 0 || head.tokens > fits.context || head.state_bytes == 0 {
        return Err(Unfit::Malformed);
    }
    let tokens_len = u64::from(head.tokens) * TOKEN_LEN;
    let stated = [before_head, head_len.into(), tokens_len, head.state_bytes, HASH_LEN]
        .into_iter()
        .try_fold(0_u64, u64::checked_add);
    let stated = stated.ok_or(Unfit::Malformed)?;
    if stated != bytes {
        return Err(Unfit::Cut { found: bytes, stated });
    }
    let mut read = |len: u64| {
        // No more than the file has, and there is memory for.
        let mut part = vec![0; usize::try_from(len).map_err(|_wide| Unfit::Malformed)?];
        from.read_exact(&mut part).map_err(cut(stated)).map(|()| part)
    };
    let (tokens, state) = (read(tokens_len)?, read(head.state_bytes)?);
    let found = from.hasher.finalize();
    let mut hash = [0; blake3::OUT_LEN];
    from.to.read_exact(&mut hash).map_err(cut(stated))?;
    if found != hash {
        return Err(Unfit::Damaged);
    }
    let tokens: Vec<_> = tokens
        .as_chunks()
        .0
        .iter()
        .map(|token| LlamaToken::new(i32::from_le_bytes(*token)))
        .collect();
    let is_known = |token: &LlamaToken| u32::try_from(token.0).is_ok_and(|id| id < fits.vocabulary);
    if !tokens.iter().all(is_known) {
        return Err(Unfit::Malformed);
    }
    let now = Instant::now();
    let used = now.checked_sub(Duration::from_millis(head.unused_ms)).ok_or(Unfit::Malformed)?;
    Ok(Carried { tokens, state: State::from_like(state), used })
}

fn require_like(found: &Origin, wanted: &Origin) -> Result<(), Unfit> {
    if found.build != wanted.build {
        return Err(Unfit::Build);
    }
    if found.model != wanted.model {
        return Err(Unfit::Model);
    }
    if found.context != wanted.context {
        return Err(Unfit::Context);
    }
    Ok(())
}

/// A file, read by its own position and not by the one that it shares with other processes.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// Hashes what passes.
struct Hashed<T> {
    to: T,
    hasher: blake3::Hasher,
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.to.read(into)?;
        self.hasher.update(&into[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn origin() -> Origin {
        let [build, model, context] = ["a build", "a file", "64 tokens"].map(str::to_owned);
        Origin { build, model, context }
    }

    fn fits() -> Fits {
        Fits { origin: origin(), context: 64, vocabulary: 100, bytes: 1 << 20 }
    }

    fn carried(tokens: &[i32]) -> Carried {
        let used = Instant::now();
        let tokens = tokens.iter().copied().map(LlamaToken::new).collect();
        Carried { tokens, state: State::from_like(b"cells".repeat(99)), used }
    }

    fn packed() -> File {
        pack(&carried(&[1, 2, 3]), &origin()).unwrap()
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = Vec::new();
        At { file, offset: 0 }.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn file(bytes: &[u8]) -> File {
        let file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        (&file).write_all(bytes).unwrap();
        file
    }

    #[track_caller]
    fn assert_refused(file: &File, fits: &Fits, why: &str) {
        let refused = unpack(file, fits).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }

    #[test]
    fn what_is_packed_is_unpacked_however_often() {
        let file = packed();
        for _ in 0..2 {
            let found = unpack(&file, &fits()).unwrap();
            assert_eq!(found.tokens, carried(&[1, 2, 3]).tokens);
            assert_eq!(found.state.bytes(), b"cells".repeat(99));
            assert!(found.used.elapsed() < Duration::from_secs(60));
        }
    }

    #[test]
    fn a_conversation_of_another_build_model_or_context_is_refused() {
        let other = || "other".to_owned();
        for (origin, why) in [
            (Origin { build: other(), ..origin() }, "another llama.cpp"),
            (Origin { model: other(), ..origin() }, "another model"),
            (Origin { context: other(), ..origin() }, "other settings"),
        ] {
            let file = pack(&carried(&[1, 2, 3]), &origin).unwrap();
            assert_refused(&file, &fits(), why);
        }
    }

    #[test]
    fn whatever_bit_is_flipped_nothing_is_kept() {
        let file = packed();
        for at in 0..bytes(&file).len() as u64 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            for bit in [0, 7] {
                file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
                unpack(&file, &fits()).expect_err("a bit is another one");
            }
            file.write_all_at(&byte, at).unwrap();
        }
        unpack(&file, &fits()).expect("every bit is as it was");
    }

    #[test]
    fn wherever_it_is_cut_nothing_is_kept() {
        let whole = bytes(&packed());
        for len in 0..whole.len() {
            assert_refused(&file(&whole[..len]), &fits(), "bytes instead of");
        }
        let longer = [&whole[..], b"x"].concat();
        assert_refused(&file(&longer), &fits(), "bytes instead of");
    }

    #[test]
    fn what_a_version_to_come_says_is_refused() {
        let mut other = bytes(&packed());
        other[7] = b'2';
        assert_refused(&file(&other), &fits(), "another version");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let small = Fits { bytes: 100, ..fits() };
        assert_refused(&packed(), &small, "there is memory for 100");
        for tokens in [&[1, 100][..], &[-1], &[], &[7; 65]] {
            let file = pack(&carried(tokens), &origin()).unwrap();
            assert_refused(&file, &fits(), "what cannot be");
        }
        let long = [&MAGIC[..], &u32::MAX.to_le_bytes(), b"{}"].concat();
        assert_refused(&file(&long), &fits(), "what cannot be");
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = File::from(std::os::fd::OwnedFd::from(one));
        assert_refused(&socket, &fits(), "no file");
    }
}
