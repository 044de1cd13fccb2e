use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::{environment::Environment, error::Error, origin::Origin};

/// Where rbee keeps its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Need not exist.
    pub config_file: PathBuf,
    pub state: PathBuf,
    /// Locks, identities and control sockets of what runs.
    pub run: PathBuf,
    pub models: PathBuf,
    /// What can be made again, shared between checkouts; a home of its own shares nothing.
    pub cache: Option<PathBuf>,
    /// In the state folder.
    pub logs: PathBuf,
    /// A file in the state folder.
    pub token: PathBuf,
    /// A file in the state folder.
    pub keys: PathBuf,
}

/// Owner only: tokens, logs and sockets are nobody else's.
const FOLDER_MODE: u32 = 0o700;

impl Paths {
    /// Creates the folders that are missing, for their owner only.
    ///
    /// Those that hold the token, logs and sockets are closed to other users where they are open;
    /// one that belongs to another user is an error. It may be called by many at once.
    pub fn create(&self) -> Result<(), Error> {
        for folder in [&self.state, &self.run, &self.logs] {
            create_folder(folder)?;
            close_folder(folder)?;
        }
        create_folder(&self.models)
    }
}

/// Everything under `RBEE_HOME`, else in the folders of the XDG base directory specification.
pub(crate) fn locate(environment: &Environment) -> Result<(Paths, [Origin; 4]), Error> {
    if let Some(home) = environment.absolute_path("RBEE_HOME")? {
        let paths = in_folders(
            home.join("config.toml"),
            home.join("state"),
            home.join("run"),
            home.join("models"),
            None,
        );
        return Ok((paths, std::array::from_fn(|_| Origin::Environment("RBEE_HOME".into()))));
    }
    let xdg = |name: &str, below_home: &str| match environment.xdg_path(name) {
        Some(path) => Ok((path.join("rbee"), Origin::Environment(name.to_owned()))),
        None => match environment.xdg_path("HOME") {
            Some(home) => Ok((home.join(below_home).join("rbee"), Origin::Default)),
            None => Err(Error::NoHome),
        },
    };
    let (config, config_origin) = xdg("XDG_CONFIG_HOME", ".config")?;
    let (state, state_origin) = xdg("XDG_STATE_HOME", ".local/state")?;
    let (data, data_origin) = xdg("XDG_DATA_HOME", ".local/share")?;
    let cache = xdg("XDG_CACHE_HOME", ".cache").ok().map(|(path, _)| path);
    let paths = in_folders(
        config.join("config.toml"),
        state.clone(),
        state.join("run"),
        data.join("models"),
        cache,
    );
    Ok((paths, [config_origin, state_origin.clone(), state_origin, data_origin]))
}

fn in_folders(
    config_file: PathBuf,
    state: PathBuf,
    run: PathBuf,
    models: PathBuf,
    cache: Option<PathBuf>,
) -> Paths {
    let (logs, token) = (state.join("logs"), state.join("token"));
    let keys = state.join("keys.json");
    Paths { config_file, state, run, models, cache, logs, token, keys }
}

fn create_folder(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(FOLDER_MODE);
    builder.create(path).map_err(|source| Error::CreateFolder { path: path.to_owned(), source })
}

/// The umask narrows the mode of a new folder and never widens it, so only folders that were
/// there before need the change of mode.
fn close_folder(path: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| Error::CreateFolder { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::ForeignFolder { path: path.to_owned(), owner: metadata.uid() });
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(FOLDER_MODE)).map_err(failed)?;
    }
    Ok(())
}
