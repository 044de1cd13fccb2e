use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

use flate2::{Compression, write::GzEncoder};
use rbee_config::installation::{CURRENT, PROGRAMS, RELEASES};
use semver::Version;
use tar::{Builder, EntryType, Header};

use crate::{Error, FileEntry, MANIFEST, Release, TOP, this_platform};

/// The time of every file in an archive, so that the same contents make the same archive: the
/// beginning of 2020.
const TIME: u64 = 1_577_836_800;

/// What goes into a release, by its path in the release's folder.
pub type Contents = BTreeMap<String, Content>;

/// A file of a release.
#[derive(Debug, Clone)]
pub enum Content {
    Program(PathBuf),
    Text(String),
}

impl Content {
    fn is_executable(&self) -> bool {
        matches!(self, Self::Program(_))
    }

    /// Its length, and what it is read from.
    pub fn open(&self) -> Result<(u64, Box<dyn Read + '_>), Error> {
        match self {
            Self::Text(text) => Ok((text.len() as u64, Box::new(text.as_bytes()))),
            Self::Program(path) => {
                let file = File::open(path).map_err(|source| Error::io("open", path, source))?;
                let meta = file.metadata().map_err(|source| Error::io("inspect", path, source))?;
                Ok((meta.len(), Box::new(file)))
            }
        }
    }

    fn entry(&self) -> Result<FileEntry, Error> {
        let (bytes, mut reader) = self.open()?;
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut reader, &mut hasher).map_err(|source| match self {
            Self::Program(path) => Error::io("read", path, source),
            Self::Text(_) => Error::Write { source },
        })?;
        let blake3 = hasher.finalize().to_hex().to_string();
        Ok(FileEntry { blake3, bytes, executable: self.is_executable() })
    }
}

/// Writes the release of `contents` to `out`, compressed by `level` (0 to 9).
///
/// # Errors
///
/// A file that cannot be read; and when `out` cannot be written.
pub fn pack(
    contents: &Contents,
    version: Version,
    out: impl Write,
    level: u32,
) -> Result<Release, Error> {
    let files = contents.iter().map(|(path, content)| Ok((path.clone(), content.entry()?)));
    let files = files.collect::<Result<_, Error>>()?;
    let release = Release { version, platform: this_platform(), files };
    let folder = format!("{TOP}/{RELEASES}/{}", release.id());
    let mut manifest = serde_json::to_string_pretty(&release).expect("it is plain data");
    manifest.push('\n');

    let mut archive = Archive::new(out, level);
    // First, so that whoever reads on knows what may follow.
    archive.file(&format!("{folder}/{MANIFEST}"), &Content::Text(manifest))?;
    for (path, content) in contents {
        archive.file(&format!("{folder}/{path}"), content)?;
    }
    archive.link(&format!("{TOP}/{CURRENT}"), &format!("{RELEASES}/{}", release.id()))?;
    for shown in [PROGRAMS, "share"] {
        archive.link(&format!("{TOP}/{shown}"), &format!("{CURRENT}/{shown}"))?;
    }
    archive.finish()?;
    Ok(release)
}

/// A gzip-compressed tar whose bytes follow from what is put into it.
pub struct Archive<W: Write>(Builder<GzEncoder<W>>);

impl<W: Write> fmt::Debug for Archive<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}

impl<W: Write> Archive<W> {
    pub fn new(out: W, level: u32) -> Self {
        Self(Builder::new(GzEncoder::new(out, Compression::new(level))))
    }

    pub fn file(&mut self, path: &str, content: &Content) -> Result<(), Error> {
        let (size, reader) = content.open()?;
        let mut header =
            header(EntryType::Regular, if content.is_executable() { 0o755 } else { 0o644 });
        header.set_size(size);
        // One that grows meanwhile is cut, and one that shrinks does not fit its header.
        self.0.append_data(&mut header, path, reader.take(size)).map_err(written)
    }

    pub fn link(&mut self, path: &str, target: &str) -> Result<(), Error> {
        self.0.append_link(&mut header(EntryType::Symlink, 0o777), path, target).map_err(written)
    }

    pub fn folder(&mut self, path: &str) -> Result<(), Error> {
        let mut header = header(EntryType::Directory, 0o755);
        self.0.append_data(&mut header, path, io::empty()).map_err(written)
    }

    pub fn finish(self) -> Result<W, Error> {
        self.0.into_inner().and_then(GzEncoder::finish).map_err(written)
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(TIME);
    header.set_size(0);
    header
}

fn written(source: io::Error) -> Error {
    Error::Write { source }
}
