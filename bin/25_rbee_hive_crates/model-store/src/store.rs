use std::{
    ffi::OsString,
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rbee_api::{Model, ModelRemoved};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    catalogue::CATALOGUE,
    download::{Partial, failed},
    error::Error,
    lock,
    name::ModelName,
    pip, safetensors, set,
};

const LOCKS: &str = ".locks";
const MODEL: &str = "model.gguf";
const SET: &str = "hf";
const RECORD: &str = "model.json";
const PARTIAL: &str = "model.gguf.partial";
const VALIDATOR: &str = "model.gguf.partial.json";
/// A record is a few hundred bytes.
const MAX_RECORD_LEN: u64 = 64 * 1024;

/// From where models are downloaded.
#[derive(Clone)]
pub struct Sources {
    pub(crate) hf_endpoint: Url,
    pub(crate) python: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// How long a download waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a name to be resolved, and for a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub stall: Duration,
    /// Between the first failure and the next attempt; it doubles with each failure.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// After the first attempt, and again whenever bytes have arrived.
    pub retries: usize,
}

/// The models of one host.
///
/// A model is a folder of its own with the file and a record of where it came from. Any number
/// of processes may use one store at once.
#[derive(Debug)]
pub struct ModelStore {
    folder: PathBuf,
    pub(crate) sources: Sources,
    pub(crate) patience: Patience,
}

/// Where one model's files are.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) folder: PathBuf,
    pub(crate) model: PathBuf,
    /// Where the model is several files.
    pub(crate) set: PathBuf,
    pub(crate) record: PathBuf,
    pub(crate) partial: Partial,
    pub(crate) lock: PathBuf,
}

/// What the store knows about a model that it has.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// A URL without its query, or a description.
    pub(crate) source: String,
    pub(crate) sha256: String,
    pub(crate) size: u64,
    /// The commit of a model of several files; their hash is that of the list of their hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<String>,
    /// Seconds since the Unix epoch.
    pub(crate) pulled_at: u64,
}

impl Sources {
    /// Hugging Face at `hf_endpoint`, and the Python that `environment`'s `PATH` leads to.
    ///
    /// Python gets `environment` and nothing else; it should hold `HOME`, `PATH`, and what says
    /// how to download here: `PIP_*`, `SSL_CERT_*`, proxies.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`] when `hf_endpoint` is not an `http` or `https` URL.
    pub fn new(
        hf_endpoint: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let invalid = |why: String| Error::InvalidName { name: hf_endpoint.to_owned(), why };
        let hf_endpoint = Url::parse(hf_endpoint).map_err(|error| invalid(error.to_string()))?;
        if !matches!(hf_endpoint.scheme(), "http" | "https") {
            return Err(invalid("an endpoint is an `http` or `https` URL".into()));
        }
        let environment = environment.into_iter().collect();
        Ok(Self { hf_endpoint, python: "python3".into(), environment })
    }

    /// Another Python than `python3`.
    #[must_use]
    pub fn with_python(mut self, python: impl Into<PathBuf>) -> Self {
        self.python = python.into();
        self
    }
}

/// Without the environment, which may hold passwords of proxies.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("hf_endpoint", &self.hf_endpoint.as_str())
            .field("python", &self.python)
            .finish_non_exhaustive()
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(30),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
            retries: 4,
        }
    }
}

impl ModelStore {
    /// Opens the store in `folder`, which is created if it is missing.
    pub fn open(folder: PathBuf, sources: Sources) -> Result<Self, Error> {
        create_folder(&folder.join(LOCKS))?;
        Ok(Self { folder, sources, patience: Patience::default() })
    }

    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// The models that are here and those of the catalogue that are not, by name.
    pub fn list(&self) -> Result<Vec<Model>, Error> {
        let mut models = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed("read", &self.folder))? {
            let entry = entry.map_err(failed("read", &self.folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let slot = Slot::new(&self.folder, &entry.file_name().to_string_lossy());
            match Record::of_model(&slot) {
                Some(record) if is_folder_of(&slot, &record.name) => {
                    models.push(local_model(record, &slot));
                }
                // A pull that is under way or was cut, or not a model's folder at all.
                _ => tracing::debug!(folder = %slot.folder.display(), "holds no model"),
            }
        }
        for entry in CATALOGUE {
            if models.iter().all(|model| model.name != entry.name) {
                models.push(Model {
                    name: entry.name.to_owned(),
                    size_bytes: entry.size,
                    local: false,
                    path: None,
                    sha256: Some(entry.sha256.to_owned()),
                    license: Some(entry.license.to_owned()),
                    description: Some(entry.description.to_owned()),
                });
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(models)
    }

    /// The model's file, or its folder, if it is on this host. Asks no network.
    ///
    /// # Errors
    ///
    /// When `name` names no model at all.
    pub fn find(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        self.local(&ModelName::parse(name)?)
    }

    /// Deletes a model, and what a broken-off pull left of it.
    ///
    /// A process that has the file open keeps it until it closes it.
    ///
    /// # Errors
    ///
    /// [`Error::NotInStore`]; [`Error::Busy`] while it is being pulled; [`Error::OutsideOfStore`]
    /// for a path.
    pub fn remove(&self, name: &str) -> Result<ModelRemoved, Error> {
        let name = ModelName::parse(name)?;
        if matches!(name, ModelName::Path(_)) {
            return Err(Error::OutsideOfStore { name: name.to_string() });
        }
        let slot = self.slot(&name);
        let Some(_lock) = lock::try_acquire(&slot.lock)? else {
            return Err(Error::Busy { name: name.to_string() });
        };
        let freed = [&slot.model, &slot.partial.file]
            .into_iter()
            .map(|path| fs::symlink_metadata(path).map_or(0, |metadata| metadata.len()));
        let freed_bytes = freed.sum::<u64>() + set::bytes(&slot.set);
        match fs::remove_dir_all(&slot.folder) {
            Ok(()) => Ok(ModelRemoved { name: name.to_string(), freed_bytes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotInStore { name: name.to_string() })
            }
            Err(error) => Err(failed("remove", &slot.folder)(error)),
        }
    }

    pub(crate) fn slot(&self, name: &ModelName) -> Slot {
        Slot::new(&self.folder, &name.folder())
    }

    pub(crate) fn local(&self, name: &ModelName) -> Result<Option<PathBuf>, Error> {
        if let ModelName::Path(path) = name {
            let is_model = path.is_file() || safetensors::is_folder(path);
            return Ok(is_model.then(|| path.clone()));
        }
        let slot = self.slot(name);
        let record = Record::of_model(&slot).filter(|record| record.name == name.to_string());
        Ok(record.map(|record| record.place(&slot).to_owned()))
    }
}

impl Slot {
    fn new(store: &Path, name: &str) -> Self {
        let folder = store.join(name);
        Self {
            model: folder.join(MODEL),
            set: folder.join(SET),
            record: folder.join(RECORD),
            partial: Partial { file: folder.join(PARTIAL), validator: folder.join(VALIDATOR) },
            lock: store.join(LOCKS).join(name),
            folder,
        }
    }

    /// Creates the folder and clears away what a killed pull left; for the holder of the lock.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        create_folder(&self.folder)?;
        for entry in fs::read_dir(&self.folder).map_err(failed("read", &self.folder))? {
            let entry = entry.map_err(failed("read", &self.folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(pip::TEMPORARY_PREFIX.as_bytes()) {
                fs::remove_dir_all(entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

impl Record {
    /// The record of a model that is whole: its file has the size that was verified.
    fn of_model(slot: &Slot) -> Option<Self> {
        let record_len = fs::symlink_metadata(&slot.record).ok()?;
        if !record_len.is_file() || record_len.len() > MAX_RECORD_LEN {
            return None;
        }
        let record: Self = serde_json::from_slice(&fs::read(&slot.record).ok()?).ok()?;
        let metadata = fs::symlink_metadata(record.place(slot)).ok()?;
        let size = match record.revision {
            Some(_) if metadata.is_dir() => set::bytes(&slot.set),
            None if metadata.is_file() => metadata.len(),
            _ => return None,
        };
        (record.size == size).then_some(record)
    }

    /// Where the model is.
    pub(crate) fn place<'s>(&self, slot: &'s Slot) -> &'s Path {
        if self.revision.is_some() { &slot.set } else { &slot.model }
    }

    pub(crate) fn write(&self, slot: &Slot) -> Result<(), Error> {
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&slot.folder)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&slot.record)?;
            Ok(())
        };
        write().map_err(failed("write", &slot.record))
    }
}

fn local_model(record: Record, slot: &Slot) -> Model {
    let entry = CATALOGUE.iter().find(|entry| entry.name == record.name);
    let path = record.place(slot).display().to_string();
    Model {
        name: record.name,
        size_bytes: record.size,
        local: true,
        path: Some(path),
        sha256: Some(record.sha256),
        license: entry.map(|entry| entry.license.to_owned()),
        description: entry.map(|entry| entry.description.to_owned()),
    }
}

/// Whether `find` would look for that name in this folder.
fn is_folder_of(slot: &Slot, name: &str) -> bool {
    let folder = ModelName::parse(name).map(|name| name.folder());
    folder.is_ok_and(|folder| slot.folder.file_name().is_some_and(|found| found == folder.as_str()))
}

pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(failed("create", path))
}
