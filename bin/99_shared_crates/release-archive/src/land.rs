use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
};

use flate2::read::GzDecoder;
use rbee_config::{
    Installation,
    installation::{CURRENT, RELEASES},
};
use tar::{Archive, Entry};

use crate::{Error, FileEntry, MANIFEST, Release, TOP, this_platform};

/// More than any manifest has.
const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const DEBIAN: &[u8] = b"!<arch>\n";

/// Which releases are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Those that are no older than what is installed.
    NoOlder,
    Any,
}

/// A release that is in its place and not used yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    pub release: Release,
    pub id: String,
    /// The release that is used.
    pub before: String,
    /// Whether it was there already, with this content.
    pub was_there: bool,
}

/// Keeps others from changing what is installed, for as long as the answer lives; waits for those who
/// do.
pub fn lock(installation: &Installation) -> Result<File, Error> {
    let path = installation.root().join(".lock");
    let opened = File::options().create(true).append(true).open(&path);
    let file = opened.map_err(|source| Error::io("write", &path, source))?;
    file.lock().map_err(|source| Error::io("lock", &path, source))?;
    Ok(file)
}

/// Puts the release of the archive into its place beside those that are there.
///
/// It is written under another name and renamed when all of it is there and is what its manifest
/// says; what is used is not touched.
///
/// # Errors
///
/// An archive that is damaged, was changed, is of something else, for another machine, or older than
/// the `rule` allows.
pub fn land(installation: &Installation, archive: &Path, rule: Rule) -> Result<Landed, Error> {
    let before = current(installation)?;
    let mut reading = Reading::open(archive)?;
    let mut entries =
        reading.archive.entries().map_err(|source| not_an_archive(archive, source))?;
    let first = entries.next().transpose().map_err(|source| not_an_archive(archive, source))?;
    let no_manifest =
        || Error::NoManifest { path: archive.to_owned(), wanted: MANIFEST.to_owned() };
    let mut first = first.ok_or_else(no_manifest)?;
    let (id, path) = within(&first)?.ok_or_else(no_manifest)?;
    if path != MANIFEST {
        return Err(no_manifest());
    }
    let release = manifest(&mut first, &id)?;
    admit(installation, &release, &before, rule)?;
    let place = installation.release(&id);
    let landed = |was_there| Landed {
        release: release.clone(),
        id: id.clone(),
        before: before.clone(),
        was_there,
    };
    if is_whole(&place, &release) {
        return Ok(landed(true));
    }

    let releases = installation.root().join(RELEASES);
    let draft = tempfile::Builder::new().prefix(".landing-").tempdir_in(&releases);
    let draft = draft.map_err(|source| Error::io("make a folder in", &releases, source))?;
    let mut missing = release.files.clone();
    for entry in entries {
        let mut entry = entry.map_err(|source| damaged(MANIFEST, source))?;
        // The links at the top are for those who have nothing installed.
        let Some((of, path)) = within(&entry)? else { continue };
        let expected =
            missing.remove(&path).filter(|_| of == id && entry.header().entry_type().is_file());
        let Some(expected) = expected else {
            return Err(Error::Unexpected { path, why: "which its manifest does not name" });
        };
        write(&mut entry, draft.path(), &path, &expected)?;
    }
    if let Some(path) = missing.into_keys().next() {
        return Err(Error::Missing { path });
    }
    let mut text = serde_json::to_string_pretty(&release).expect("it is plain data");
    text.push('\n');
    let at = draft.path().join(MANIFEST);
    fs::write(&at, text).map_err(|source| Error::io("write", &at, source))?;
    // What is there under this name is not whole.
    remove(&place)?;
    // Everybody may use what is installed, as they may what `tar` unpacks.
    let readable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(draft.path(), readable)
        .map_err(|source| Error::io("open", draft.path(), source))?;
    let draft = draft.keep();
    fs::rename(&draft, &place).map_err(|source| Error::io("move into place", &place, source))?;
    sync(&releases)?;
    Ok(landed(false))
}

/// Makes the release of that id the one that is used, in one step.
pub fn switch(installation: &Installation, id: &str) -> Result<(), Error> {
    let (link, draft) = (installation.root().join(CURRENT), installation.root().join(".next"));
    remove(&draft)?;
    let target = Path::new(RELEASES).join(id);
    symlink(target, &draft).map_err(|source| Error::io("write", &draft, source))?;
    fs::rename(&draft, &link).map_err(|source| Error::io("replace", &link, source))?;
    sync(installation.root())
}

/// Removes all releases but those of the ids, and what was left half landed; returns what is gone.
pub fn prune(installation: &Installation, keep: &[&str]) -> Result<Vec<String>, Error> {
    let releases = installation.root().join(RELEASES);
    let entries = fs::read_dir(&releases).map_err(|source| Error::io("read", &releases, source))?;
    let mut gone = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !keep.contains(&name.as_str()) {
            remove(&entry.path())?;
            gone.push(name);
        }
    }
    Ok(gone)
}

fn current(installation: &Installation) -> Result<String, Error> {
    let link = || installation.root().join(CURRENT);
    installation.current().map_err(|source| Error::io("follow", link(), source))
}

struct Reading {
    archive: Archive<GzDecoder<File>>,
}

impl Reading {
    fn open(path: &Path) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(|source| Error::io("open", path, source))?;
        let mut head = [0; DEBIAN.len()];
        let read = |source| Error::io("read", path, source);
        let known = io::copy(&mut (&mut file).take(head.len() as u64), &mut head.as_mut_slice());
        let known = known.map_err(read)?;
        if head == DEBIAN {
            return Err(Error::DebianPackage { path: path.to_owned() });
        }
        if known < 2 || head[..2] != GZIP {
            let source = io::Error::other("it does not begin as one");
            return Err(not_an_archive(path, source));
        }
        io::Seek::rewind(&mut file).map_err(read)?;
        Ok(Self { archive: Archive::new(GzDecoder::new(file)) })
    }
}

/// The release that an entry is of, and its path in that; `None` of one above the releases.
fn within(entry: &Entry<'_, impl Read>) -> Result<Option<(String, String)>, Error> {
    let path = entry.path().map_err(|source| damaged("a name", source))?;
    let shown = path.display().to_string();
    let unexpected = |why| Error::Unexpected { path: shown.clone(), why };
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                names.push(name.to_str().ok_or_else(|| unexpected("whose name is no text"))?);
            }
            _ => return Err(unexpected("which leads out of it")),
        }
    }
    match names.as_slice() {
        [TOP, RELEASES, id, path @ ..] if !path.is_empty() => {
            Ok(Some(((*id).to_owned(), path.join("/"))))
        }
        [TOP, ..] => Ok(None),
        _ => Err(unexpected("which is of no release")),
    }
}

fn manifest(entry: &mut Entry<'_, impl Read>, id: &str) -> Result<Release, Error> {
    let mut text = Vec::new();
    entry
        .take(MAX_MANIFEST_BYTES)
        .read_to_end(&mut text)
        .map_err(|source| damaged(MANIFEST, source))?;
    let release: Release = serde_json::from_slice(&text)
        .map_err(|source| Error::Manifest { path: MANIFEST.to_owned(), source })?;
    let is_plain =
        |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if release.id() != id || !release.files.keys().all(|path| is_plain(path)) {
        return Err(Error::Changed { path: MANIFEST.to_owned() });
    }
    Ok(release)
}

fn admit(
    installation: &Installation,
    release: &Release,
    before: &str,
    rule: Rule,
) -> Result<(), Error> {
    if release.platform != this_platform() {
        let theirs = release.platform.clone();
        return Err(Error::OtherPlatform { theirs, ours: this_platform() });
    }
    let installed = installed(&installation.release(before));
    match installed {
        Some(installed) if rule == Rule::NoOlder && release.version < installed.version => {
            let (theirs, ours) = (release.version.to_string(), installed.version.to_string());
            Err(Error::Older { theirs, ours })
        }
        _ => Ok(()),
    }
}

/// What the release in that folder says of itself.
fn installed(folder: &Path) -> Option<Release> {
    serde_json::from_slice(&fs::read(folder.join(MANIFEST)).ok()?).ok()
}

/// Whether each file is there with the content that the manifest names.
fn is_whole(folder: &Path, release: &Release) -> bool {
    installed(folder).as_ref() == Some(release)
        && release.files.iter().all(|(path, expected)| {
            let mut hasher = blake3::Hasher::new();
            let read =
                File::open(folder.join(path)).and_then(|mut file| io::copy(&mut file, &mut hasher));
            read.is_ok() && hasher.finalize().to_hex().as_str() == expected.blake3
        })
}

fn write(
    entry: &mut Entry<'_, impl Read>,
    folder: &Path,
    path: &str,
    expected: &FileEntry,
) -> Result<(), Error> {
    let at = folder.join(path);
    let failed = |source| Error::io("write", &at, source);
    fs::create_dir_all(at.parent().unwrap_or(folder)).map_err(failed)?;
    let mode = if expected.executable { 0o755 } else { 0o644 };
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&at).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut left = expected.bytes;
    loop {
        let read = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(damaged(path, source)),
        };
        // However much it unpacks to, no more is written than it was said to have.
        left = left
            .checked_sub(read as u64)
            .ok_or_else(|| Error::Changed { path: path.to_owned() })?;
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(failed)?;
    }
    if left > 0 || hasher.finalize().to_hex().as_str() != expected.blake3 {
        return Err(Error::Changed { path: path.to_owned() });
    }
    file.sync_all().map_err(failed)
}

/// Of a file, a link or a folder; one that is not there is removed already.
fn remove(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Error::io("write", folder, source))
}

fn not_an_archive(path: &Path, source: io::Error) -> Error {
    Error::NotAnArchive { path: PathBuf::from(path), source }
}

fn damaged(at: &str, source: io::Error) -> Error {
    Error::Damaged { at: at.to_owned(), source }
}
