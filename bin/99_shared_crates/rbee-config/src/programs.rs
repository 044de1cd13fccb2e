//! Which file the name of a program leads to.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::RbeeConfig;

/// Where in the source tree `./rbee setup --vllm` leaves an environment with vLLM.
pub const SETUP_VLLM: &str = ".tools/vllm";

impl RbeeConfig {
    /// The program `vllm`: the one that the configuration names, whether or not it is there; else what
    /// `./rbee setup --vllm` has installed; else the first in `PATH`.
    ///
    /// What was installed comes before `PATH`, which depends on the terminal that a chain is started
    /// from.
    pub fn vllm(&self) -> Option<PathBuf> {
        let in_environment = |folder: &Path| folder.join("bin/vllm");
        if let Some(named) = &self.worker.vllm.command {
            let path = Path::new(named);
            return Some(match path {
                folder if folder.is_dir() => in_environment(folder),
                path => self.program(named).unwrap_or_else(|| path.to_owned()),
            });
        }
        // Not by its link: an engine's name holds what it was started from.
        let installed = self.source_root.as_ref();
        let installed = installed.and_then(|root| root.join(SETUP_VLLM).canonicalize().ok());
        let installed = installed.as_deref().map(in_environment);
        installed.filter(|program| is_executable(program)).or_else(|| self.program("vllm"))
    }

    /// The file that a command begins with: a path, or a name that is looked for in `PATH`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| is_executable(path));
        }
        let folders = env::split_paths(&self.search).filter(|folder| folder.is_absolute());
        folders.map(|folder| folder.join(name)).find(|path| is_executable(path))
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}
