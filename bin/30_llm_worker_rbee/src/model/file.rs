use std::{
    fs::{File, Metadata},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{LoadError, LoadOptions, Model};

/// Where this process finds its own descriptors by path.
#[cfg(target_os = "linux")]
const DESCRIPTORS: &str = "/proc/self/fd";
#[cfg(not(target_os = "linux"))]
const DESCRIPTORS: &str = "/dev/fd";

/// A model's file, open: what is loaded is what was looked at, whatever its path leads to by then.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    file: File,
}

impl ModelFile {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let path = path.to_owned();
        match gguf_file::open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(LoadError::Unfit { path, source }),
        }
    }

    /// The file, such as for a sandbox that lets it be read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Looks whether it is a whole GGUF file, and loads it.
    ///
    /// It is mapped, not read: it must not change while the model lives.
    pub fn load(self) -> Result<Model, LoadError> {
        self.load_with(&LoadOptions::default())
    }

    /// The same as whoever starts the worker wants it.
    pub fn load_with(self, options: &LoadOptions) -> Result<Model, LoadError> {
        let failed = |reason: String| LoadError::Load { path: self.path.clone(), reason };
        let state = || self.file.metadata().map(|metadata| state(&metadata));
        let before = state().map_err(|error| failed(error.to_string()))?;
        let summary = gguf_file::inspect(&self.file)
            .map_err(|source| LoadError::Unfit { path: self.path.clone(), source })?;
        // llama.cpp opens a path. This one leads to the open file and to no other.
        let descriptor = Path::new(DESCRIPTORS).join(self.file.as_raw_fd().to_string());
        let model =
            Model::load_file(&descriptor, format!("{before:?}"), &summary, options, &failed)?;
        match state() {
            Ok(after) if after == before => Ok(model),
            _ => Err(failed("it was changed while it was loaded".to_owned())),
        }
    }
}

/// What differs once the content does.
fn state(metadata: &Metadata) -> [i64; 7] {
    [
        metadata.dev().cast_signed(),
        metadata.ino().cast_signed(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.size().cast_signed(),
    ]
}
