use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rbee_api::{Model, ModelRemoved};
use serde::{Deserialize, Serialize};

use crate::{
    catalogue,
    download::Partial,
    error::{Error, failed},
    facts::{Facts, Known},
    folder, lock,
    name::ModelName,
    pip, safetensors,
    sources::{Patience, Sources},
};

const LOCKS: &str = ".locks";
const MODEL: &str = "model.gguf";
const SET: &str = "hf";
const RECORD: &str = "model.json";
const PARTIAL: &str = "model.gguf.partial";
const VALIDATOR: &str = "model.gguf.partial.json";
/// A record is a few hundred bytes.
const MAX_RECORD_LEN: u64 = 64 * 1024;

/// The models of one host.
///
/// A model is a folder of its own with the file and a record of where it came from. Any number
/// of processes may use one store at once.
#[derive(Debug)]
pub struct ModelStore {
    folder: PathBuf,
    pub(crate) sources: Sources,
    pub(crate) patience: Patience,
    known: Known,
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

impl ModelStore {
    /// Opens the store in `folder`, which is created if it is missing.
    pub fn open(folder: PathBuf, sources: Sources) -> Result<Self, Error> {
        folder::create(&folder.join(LOCKS))?;
        Ok(Self { folder, sources, patience: Patience::default(), known: Known::default() })
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
        for entry in catalogue::entries() {
            if models.iter().all(|model| model.name != entry.name) {
                models.push(Model {
                    name: entry.name.clone(),
                    size_bytes: entry.size,
                    is_approximate: entry.sha256.is_none(),
                    memory_bytes: None,
                    local: false,
                    path: None,
                    sha256: entry.sha256.clone(),
                    license: Some(entry.licence.clone()),
                    description: Some(entry.description.clone()),
                    abilities: Vec::new(),
                    sampling: entry.sampling,
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

    /// What the files of a model say of it, by the path of its file or folder.
    pub fn facts(&self, path: &Path) -> Option<Arc<Facts>> {
        self.known.of(path)
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
        let freed_bytes = freed.sum::<u64>() + folder::bytes(&slot.set);
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
        folder::create(&self.folder)?;
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
            Some(_) if metadata.is_dir() => folder::bytes(&slot.set),
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
    let entry = catalogue::entries().iter().find(|entry| entry.name == record.name);
    let path = record.place(slot).display().to_string();
    Model {
        name: record.name,
        size_bytes: record.size,
        is_approximate: false,
        memory_bytes: None,
        local: true,
        path: Some(path),
        sha256: Some(record.sha256),
        license: entry.map(|entry| entry.licence.clone()),
        description: entry.map(|entry| entry.description.clone()),
        abilities: Vec::new(),
        sampling: entry.map(|entry| entry.sampling).unwrap_or_default(),
    }
}

/// Whether `find` would look for that name in this folder.
fn is_folder_of(slot: &Slot, name: &str) -> bool {
    let folder = ModelName::parse(name).map(|name| name.folder());
    folder.is_ok_and(|folder| slot.folder.file_name().is_some_and(|found| found == folder.as_str()))
}
