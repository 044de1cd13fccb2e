use std::{
    ffi::{CStr, OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use super::{Entry, Head, KINDS, Look, MAGIC, Outcome, Output, PREAMBLE, PackageOf, Trace};
use crate::{
    freshness::InputKind,
    hash::{ArtifactHash, Digest, hash_bytes},
    stat::StatVector,
};

/// A receipt whose bytes are whole.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) head: Head,
    bytes: Vec<u8>,
    /// Where each group lies.
    groups: Vec<(usize, usize)>,
}

/// The entries of one directory, or a part of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) dir: &'a CStr,
    pub(crate) len: usize,
    reader: Reader<'a>,
}

/// An entry as it lies in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryRef<'a> {
    /// Relative to the workspace's root, or absolute.
    pub(crate) path: &'a CStr,
    /// The last part of the path.
    pub(crate) name: &'a CStr,
    pub(crate) look: Look,
    pub(crate) kind: InputKind,
    pub(crate) owner: Option<u16>,
    pub(crate) stat: &'a [u8],
    pub(crate) hash: &'a [u8],
    /// Where its state lies in the file.
    pub(crate) stat_at: usize,
}

impl EntryRef<'_> {
    pub(crate) fn absolute(&self, root: &Path) -> PathBuf {
        let path = Path::new(OsStr::from_bytes(self.path.to_bytes()));
        if path == Path::new(".") { root.to_owned() } else { root.join(path) }
    }

    pub(crate) fn to_entry(self, root: &Path) -> Entry {
        Entry {
            path: self.absolute(root),
            look: self.look,
            kind: self.kind,
            owner: self.owner,
            stat: StatVector(self.stat.try_into().expect("as long as it was written")),
            hash: self.hash.try_into().expect("as long as it was written"),
        }
    }
}

impl Receipt {
    /// The bytes begin as a receipt does, but not as one of this version.
    pub(crate) fn is_of_another_version(bytes: &[u8]) -> bool {
        let (name, version) = MAGIC.split_at(MAGIC.len() - 1);
        match bytes.strip_prefix(name) {
            Some([found, ..]) => found.is_ascii_digit() && *found != version[0],
            Some([]) | None => false,
        }
    }

    /// `None` if anything about the bytes is not as it was written.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut preamble = Reader { bytes: &bytes, at: 0 };
        let is_whole = preamble.take(8)? == MAGIC
            && u64::from_le_bytes(preamble.take(8)?.try_into().ok()?) == bytes.len() as u64
            && preamble.take(32)? == hash_bytes(&bytes[PREAMBLE..]);
        if !is_whole {
            return None;
        }
        let mut body = Reader { bytes: &bytes, at: PREAMBLE };
        let length = body.number()?;
        let head_end = body.at.checked_add(length)?;
        let head = Reader { bytes: bytes.get(..head_end)?, at: body.at }.head()?;
        body.at = head_end;
        let count = body.number()?;
        let mut groups = Vec::with_capacity(count.min(bytes.len()));
        for _ in 0..count {
            let length = body.number()?;
            groups.push((body.at, body.at + length));
            body.take(length)?;
        }
        Some(Self { head, bytes, groups })
    }

    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = Group<'_>> + Clone {
        self.groups.iter().map(|&(start, end)| self.group(start, end))
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.groups().flat_map(Group::entries)
    }

    /// How many inputs it lists.
    pub(crate) fn len(&self) -> usize {
        self.groups().map(|group| group.len).sum()
    }

    /// The same receipt with other states for some entries, as bytes.
    pub(crate) fn restamped(
        &self,
        stamps: &[(usize, StatVector)],
        head: &Head,
        root: &Path,
    ) -> Vec<u8> {
        if *head == self.head {
            let mut bytes = self.bytes.clone();
            for (at, stat) in stamps {
                bytes[*at..*at + StatVector::LEN].copy_from_slice(&stat.0);
            }
            let checksum = hash_bytes(&bytes[PREAMBLE..]);
            bytes[16..PREAMBLE].copy_from_slice(&checksum);
            return bytes;
        }
        let mut entries: Vec<Entry> = self
            .entries()
            .map(|entry| {
                let stamp = stamps.iter().find(|(at, _)| *at == entry.stat_at);
                let recorded = entry.to_entry(root);
                Entry { stat: stamp.map_or(recorded.stat, |(_, stat)| *stat), ..recorded }
            })
            .collect();
        head.encode(&mut entries, root)
    }

    fn group(&self, start: usize, end: usize) -> Group<'_> {
        let mut reader = Reader { bytes: &self.bytes[..end], at: start };
        // The checksum held, so this is what `encode` wrote.
        let dir = reader.terminated().expect("a whole receipt");
        let len = reader.number().expect("a whole receipt");
        Group { dir, len, reader }
    }
}

impl<'a> Group<'a> {
    pub(crate) fn entries(self) -> impl Iterator<Item = EntryRef<'a>> {
        let mut reader = self.reader;
        (0..self.len).map(move |_| reader.entry().expect("a whole receipt"))
    }
}

#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize)
    }

    fn blob(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.blob()?.to_vec()).ok()
    }

    fn os_text(&mut self) -> Option<&'a OsStr> {
        self.blob().map(OsStr::from_bytes)
    }

    fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.byte()? {
            0 => Some(None),
            _ => self.blob().map(Some),
        }
    }

    fn terminated(&mut self) -> Option<&'a CStr> {
        CStr::from_bytes_with_nul(self.blob()?).ok()
    }

    fn stat(&mut self) -> Option<StatVector> {
        self.take(StatVector::LEN)?.try_into().ok().map(StatVector)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take(32)?.try_into().ok()
    }

    fn head(&mut self) -> Option<Head> {
        let key = self.digest()?;
        let outcome = match self.byte()? {
            0 => Outcome::Built(Output {
                hash: ArtifactHash::from_bytes(self.digest()?),
                target_path: self.os_text()?.into(),
                target: self.stat()?,
                stored: self.stat()?,
                opaque: match self.optional()? {
                    Some(text) => Some(String::from_utf8(text.to_vec()).ok()?),
                    None => None,
                },
            }),
            1 => Outcome::Failed { diagnostics: self.text()? },
            _ => return None,
        };
        let mut packages = Vec::new();
        for _ in 0..self.number()? {
            let dir = self.os_text()?.into();
            let count = self.number()?;
            let via = (0..count).map(|_| self.text()).collect::<Option<_>>()?;
            packages.push(PackageOf { dir, via });
        }
        let mut variables = Vec::new();
        for _ in 0..self.number()? {
            let name = self.os_text()?.to_owned();
            let value = match self.optional()? {
                Some(digest) => Some(digest.try_into().ok()?),
                None => None,
            };
            variables.push((name, value));
        }
        let mut marks = Vec::new();
        for _ in 0..self.number()? {
            let path = self.os_text()?.into();
            marks.push(Trace { path, state: self.stat()?, hash: self.digest()? });
        }
        let sysroot = self.optional()?.map(|path| PathBuf::from(OsStr::from_bytes(path)));
        let toolchain = self.optional()?.map(|name| OsString::from(OsStr::from_bytes(name)));
        let root = self.os_text()?.into();
        let count = self.number()?;
        let listed =
            (0..count).map(|_| self.os_text().map(PathBuf::from)).collect::<Option<_>>()?;
        let mut tools = Vec::new();
        for _ in 0..self.number()? {
            let program = self.os_text()?.into();
            let found = self.optional()?.map(|path| PathBuf::from(OsStr::from_bytes(path)));
            tools.push((program, found));
        }
        let leads = self.digest()?;
        Some(Head {
            key,
            outcome,
            packages,
            variables,
            marks,
            sysroot,
            toolchain,
            root,
            listed,
            tools,
            leads,
        })
    }

    fn entry(&mut self) -> Option<EntryRef<'a>> {
        let path = self.blob()?;
        let name_at = self.number()?;
        let look = *Look::ALL.get(usize::from(self.byte()?))?;
        let kind = *KINDS.get(usize::from(self.byte()?))?;
        let owner = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        let stat_at = self.at;
        Some(EntryRef {
            path: CStr::from_bytes_with_nul(path).ok()?,
            name: CStr::from_bytes_with_nul(path.get(name_at..)?).ok()?,
            look,
            kind,
            owner: (owner != u16::MAX).then_some(owner),
            stat: self.take(StatVector::LEN)?,
            hash: self.take(32)?,
            stat_at,
        })
    }
}
