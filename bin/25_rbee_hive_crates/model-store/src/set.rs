//! A repository whose model is several files: a folder of Hugging Face's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    download::{Partial, Received, Wanted, download},
    error::{Error, failed},
    folder,
    hugging_face::{RemoteSet, file_url_at},
    name::hex,
    report::Report,
    safetensors,
    store::{ModelStore, Slot},
};

/// Of a folder that is not whole yet; what follows is the revision.
const PARTIAL_PREFIX: &str = "hf-";
const PARTIAL_SUFFIX: &str = ".partial";

impl ModelStore {
    /// Brings every file of the set, of the one revision; gives the folder where they are, and their
    /// bytes and hash together. Files that an earlier pull has brought whole are not brought again.
    pub(crate) fn receive_set(
        &self,
        set: &RemoteSet,
        slot: &Slot,
        report: &mut Report<'_>,
    ) -> Result<(PathBuf, Received), Error> {
        let partial = slot.folder.join(format!("{PARTIAL_PREFIX}{}{PARTIAL_SUFFIX}", set.revision));
        forget_others(&slot.folder, &partial)?;
        folder::create(&partial)?;
        let (mut hash, mut size) = (Sha256::new(), 0);
        let total = set.files.iter().filter_map(|file| file.size).sum();
        for file in &set.files {
            let endpoint = &self.sources.hf_endpoint;
            let wanted = Wanted {
                url: file_url_at(endpoint, &set.repository, &set.revision, &file.path),
                size: file.size,
                sha256: file.sha256.clone(),
            };
            let received =
                self.receive_one(wanted, &partial.join(&file.path), (size, total), report)?;
            size += received.size;
            hash.update(format!("{}  {}\n", received.sha256, file.path));
        }
        safetensors::inspect(&partial)?;
        Ok((partial, Received { size, sha256: hex(&hash.finalize()) }))
    }

    fn receive_one(
        &self,
        wanted: Wanted,
        path: &Path,
        (before, total): (u64, u64),
        report: &mut Report<'_>,
    ) -> Result<Received, Error> {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let hashed = beside(".sha256");
        if let (Ok(sha256), Ok(metadata)) =
            (fs::read_to_string(&hashed), fs::symlink_metadata(path))
        {
            return Ok(Received { size: metadata.len(), sha256 });
        }
        let partial = Partial { file: beside(".part"), validator: beside(".part.json") };
        let client = self.client();
        report.part_of(before, total);
        let received = download(&client, wanted, &partial, &self.patience, false, report);
        report.whole();
        let received = received?;
        fs::rename(&partial.file, path).map_err(failed("write", path))?;
        partial.delete();
        // What says that the file is whole comes after it.
        fs::write(&hashed, &received.sha256).map_err(failed("write", &hashed))?;
        Ok(received)
    }
}

/// Removes what says of single files that they are whole, once all of them are.
pub(crate) fn settle(folder: &Path) -> Result<(), Error> {
    for path in folder::below(folder)? {
        if path.extension().is_some_and(|extension| extension == "sha256") {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        } else {
            fs::File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(failed("write", &path))?;
        }
    }
    Ok(())
}

/// Removes what was brought of another revision.
fn forget_others(folder: &Path, partial: &Path) -> Result<(), Error> {
    for path in folder::below(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_partial = name.starts_with(PARTIAL_PREFIX) && name.ends_with(PARTIAL_SUFFIX);
        if is_partial && path != partial {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}
