use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    error::{Error, failed, shown_url},
    http::{Client, Head, Stream},
    name::hex,
    report::{PullEvent, Report},
    sources::Patience,
};

/// Stays free on the file system, for everybody else on it.
const SPARE_SPACE: u64 = 64 * 1024 * 1024;
const HASH_CHUNK_LEN: usize = 256 * 1024;

/// One file behind a URL.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) url: Url,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<String>,
}

/// What arrived, complete and verified.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// Where a download is kept until it is complete. It survives failures, cancels and crashes, and
/// a later download of the same URL goes on from it.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: PathBuf,
    /// A [`Validator`].
    pub(crate) validator: PathBuf,
}

/// What must not have changed for the rest of a file to fit what is here.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Validator {
    url: String,
    etag: Option<String>,
    sha256: Option<String>,
}

impl Partial {
    /// An empty file to write to, whatever was there.
    pub(crate) fn create(&self) -> Result<File, Error> {
        self.delete();
        self.open()
    }

    pub(crate) fn delete(&self) {
        for path in [&self.validator, &self.file] {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot delete");
            }
        }
    }

    /// Bytes that are here so far.
    pub(crate) fn len(&self) -> u64 {
        fs::symlink_metadata(&self.file).map_or(0, |metadata| metadata.len())
    }

    fn open(&self) -> Result<File, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let opened = options.open(&self.file);
        opened.map_err(failed("write", &self.file))
    }

    fn read_validator(&self) -> Option<Validator> {
        serde_json::from_slice(&fs::read(&self.validator).ok()?).ok()
    }
}

/// Downloads `wanted` to `partial`, resuming what is there, and verifies it.
///
/// Attempts are repeated with growing pauses; bytes that arrive make up for failures before them.
/// With `has_alternative`, a host that sends nothing at all is given up at once.
pub(crate) fn download(
    client: &Client,
    wanted: Wanted,
    partial: &Partial,
    patience: &Patience,
    has_alternative: bool,
    report: &mut Report<'_>,
) -> Result<Received, Error> {
    let mut transfer = Transfer::begin(partial, wanted, report)?;
    let pauses = || {
        ExponentialBuilder::default()
            .with_min_delay(patience.first_pause)
            .with_max_delay(patience.longest_pause)
            .with_max_times(patience.retries)
            .with_jitter()
            .build()
    };
    let mut pauses_left = pauses();
    let start = transfer.done;
    loop {
        let before = transfer.done;
        let Err(error) = transfer.attempt(client, report) else { break };
        if !error.is_transient() {
            return Err(error);
        }
        if transfer.done > before {
            pauses_left = pauses();
        }
        let is_useless = has_alternative && transfer.done <= start;
        let pause = if is_useless { None } else { pauses_left.next() };
        let Some(pause) = pause else { return Err(error) };
        let asked = match &error {
            Error::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Default::default(),
        };
        let pause = pause.max(asked);
        report.tell(PullEvent::Retry { why: rbee_api::causes(&error), after: pause });
        report.pause(pause)?;
    }
    report.tell(PullEvent::Verifying);
    transfer.verify()
}

/// A download in progress: `hasher` has seen exactly the `done` bytes that are in the file.
struct Transfer<'a> {
    partial: &'a Partial,
    wanted: Wanted,
    file: File,
    hasher: Sha256,
    done: u64,
    etag: Option<String>,
}

impl<'a> Transfer<'a> {
    fn begin(partial: &'a Partial, wanted: Wanted, report: &Report<'_>) -> Result<Self, Error> {
        let resumable = partial.read_validator().filter(|validator| {
            let is_pinned = wanted.sha256.is_some() && validator.sha256 == wanted.sha256;
            validator.url == wanted.url.as_str() && (validator.etag.is_some() || is_pinned)
        });
        let mut transfer = match resumable {
            Some(validator) => {
                let file = partial.open()?;
                let etag = validator.etag;
                Self { partial, wanted, file, hasher: Sha256::new(), done: 0, etag }
            }
            None => {
                let file = partial.create()?;
                Self { partial, wanted, file, hasher: Sha256::new(), done: 0, etag: None }
            }
        };
        transfer.hash_what_is_here(report)?;
        Ok(transfer)
    }

    fn hash_what_is_here(&mut self, report: &Report<'_>) -> Result<(), Error> {
        let mut buffer = vec![0; HASH_CHUNK_LEN];
        loop {
            report.check()?;
            let read = self.file.read(&mut buffer);
            match read.map_err(failed("read", &self.partial.file))? {
                0 => return Ok(()),
                length => {
                    self.hasher.update(&buffer[..length]);
                    self.done += length as u64;
                }
            }
        }
    }

    /// One request, from the first byte that is missing to the end.
    fn attempt(&mut self, client: &Client, report: &mut Report<'_>) -> Result<(), Error> {
        if self.done > 0 && self.wanted.size == Some(self.done) {
            return Ok(());
        }
        if self.etag.is_none() && self.wanted.sha256.is_none() {
            // Nothing would tell whether the rest belongs to the same file.
            self.restart()?;
        }
        let mut headers = Vec::new();
        if self.done > 0 {
            headers.push(("range", format!("bytes={}-", self.done)));
            headers.extend(self.etag.clone().map(|etag| ("if-range", etag)));
        }
        let (head, mut stream) = client.open(&self.wanted.url, headers, report)?;
        if head.status == 416 {
            return self.past_the_end(&head, &stream);
        }
        let total = self.total(&head, &stream)?;
        self.agree(&head, total, &stream)?;
        self.require_space(total)?;
        report.progress(self.done, total);
        while let Some(bytes) = stream.next(report)? {
            if total.is_some_and(|total| self.done + bytes.len() as u64 > total) {
                return Err(answer(&stream, "it sends more than it announced"));
            }
            self.file.write_all(&bytes).map_err(failed("write", &self.partial.file))?;
            self.hasher.update(&bytes);
            self.done += bytes.len() as u64;
            report.progress(self.done, total);
        }
        match total {
            Some(total) if total > self.done => Err(Error::Interrupted {
                host: stream.host.clone(),
                received: self.done,
                source: io::ErrorKind::UnexpectedEof.into(),
            }),
            Some(_) => Ok(()),
            None => {
                report.progress(self.done, Some(self.done));
                Ok(())
            }
        }
    }

    /// The whole file's size, by an answer whose body is made to begin at `self.done`.
    fn total(&mut self, head: &Head, stream: &Stream) -> Result<Option<u64>, Error> {
        match (head.status, head.range) {
            (206, Some((Some(start), total))) if start == self.done && self.done > 0 => {
                Ok(Some(total))
            }
            (206, _) => Err(answer(stream, "it sends another range than it was asked for")),
            _ => {
                // The file is another one than it was, or the server cannot resume.
                self.restart()?;
                Ok(head.length)
            }
        }
    }

    /// Refuses what is known to be the wrong file before it is downloaded, and writes down what
    /// a later attempt needs to know.
    fn agree(&mut self, head: &Head, total: Option<u64>, stream: &Stream) -> Result<(), Error> {
        if let (Some(expected), Some(found)) = (&self.wanted.sha256, &head.sha256)
            && expected != found
        {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(Error::WrongHash { from: shown_url(&self.wanted.url), expected, found });
        }
        if let (Some(expected), Some(found)) = (self.wanted.size, total)
            && expected != found
        {
            return Err(Error::WrongSize { host: stream.host.clone(), expected, found });
        }
        self.wanted.size = self.wanted.size.or(total);
        if self.wanted.sha256.is_none() {
            self.wanted.sha256.clone_from(&head.sha256);
        }
        self.etag.clone_from(&head.etag);
        let validator = Validator {
            url: self.wanted.url.to_string(),
            etag: self.etag.clone(),
            sha256: self.wanted.sha256.clone(),
        };
        let json = serde_json::to_vec(&validator).expect("a validator holds only text");
        fs::write(&self.partial.validator, json).map_err(failed("write", &self.partial.validator))
    }

    /// The server says that what is here is all there is, or more.
    fn past_the_end(&mut self, head: &Head, stream: &Stream) -> Result<(), Error> {
        if let Some((_, total)) = head.range
            && total == self.done
            && self.wanted.size.is_none_or(|size| size == total)
        {
            return Ok(());
        }
        if self.done == 0 {
            return Err(answer(stream, "it has no first byte"));
        }
        self.restart()?;
        Err(Error::Interrupted {
            host: stream.host.clone(),
            received: 0,
            source: io::Error::other("the file has become shorter"),
        })
    }

    fn restart(&mut self) -> Result<(), Error> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(failed("write", &self.partial.file))?;
        (self.done, self.etag) = (0, None);
        self.hasher = Sha256::new();
        Ok(())
    }

    fn require_space(&self, total: Option<u64>) -> Result<(), Error> {
        let needed = total.unwrap_or(0).saturating_sub(self.done);
        require_space(&self.partial.file, needed)
    }

    fn verify(self) -> Result<Received, Error> {
        let found = hex(&self.hasher.finalize());
        match self.wanted.sha256 {
            Some(expected) if expected != found => {
                self.partial.delete();
                Err(Error::WrongHash { from: shown_url(&self.wanted.url), expected, found })
            }
            _ => Ok(Received { size: self.done, sha256: found }),
        }
    }
}

/// Refuses to begin what cannot end: `needed` bytes beside the file at `path`.
pub(crate) fn require_space(path: &Path, needed: u64) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    let space =
        rustix::fs::statvfs(folder).map_err(|error| failed("look into", folder)(error.into()))?;
    let available = space.f_bavail.saturating_mul(space.f_frsize);
    let needed = needed.saturating_add(SPARE_SPACE);
    if available < needed {
        return Err(Error::NoSpace { path: folder.to_owned(), needed, available });
    }
    Ok(())
}

fn answer(stream: &Stream, why: &str) -> Error {
    Error::Answer { host: stream.host.clone(), why: why.to_owned() }
}
