//! What is built, with which options, and where everything about it lies.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{
    compare::World,
    config::CargoConfig,
    environment::BuildEnvironment,
    error::Error,
    hash::{Digest, hash_parts},
    stat::{StatVector, stat},
    workspace::Package,
};

/// The options that decide which of its variants a binary is built as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) binary: String,
    pub(crate) profile: String,
    pub(crate) target: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) all_features: bool,
    pub(crate) no_default_features: bool,
}

impl Options {
    /// What follows `cargo build`.
    ///
    /// The package is always named: without it, features that other members turn on would be
    /// turned on here too.
    pub(crate) fn arguments(&self, package: &str) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-p", package, "--bin", &self.binary, "--profile", &self.profile]
                .map(str::to_owned)
                .into();
        if let Some(target) = &self.target {
            arguments.extend(["--target".to_owned(), target.clone()]);
        }
        if !self.features.is_empty() {
            arguments.extend(["--features".to_owned(), self.features.join(",")]);
        }
        if self.all_features {
            arguments.push("--all-features".to_owned());
        }
        if self.no_default_features {
            arguments.push("--no-default-features".to_owned());
        }
        arguments
    }
}

/// A binary with its options, as the configuration places it now.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) package: Package,
    pub(crate) options: Options,
    pub(crate) environment: BuildEnvironment,
    pub(crate) config: CargoConfig,
    pub(crate) target_dir: PathBuf,
    /// Where cargo puts the binary.
    pub(crate) target_path: PathBuf,
    pub(crate) key: Digest,
    /// Receipts of this binary and these options.
    pub(crate) records: PathBuf,
    config_states: Vec<StatVector>,
}

impl Layout {
    pub(crate) fn find(
        package: Package,
        options: Options,
        environment: BuildEnvironment,
    ) -> Result<Self, Error> {
        let config = CargoConfig::load(&package.workspace_root, &environment)?;
        let target_dir = package.target_dir(&config, &environment);
        let from_variable = environment.get("CARGO_BUILD_TARGET").and_then(|value| value.to_str());
        let target = options.target.as_deref().or(from_variable).or(config.target.as_deref());
        let mut dir = target_dir.clone();
        if let Some(target) = target {
            // A target may be a file that describes it; the directory has its stem.
            dir.push(Path::new(target).file_stem().unwrap_or_default());
        }
        dir.push(match options.profile.as_str() {
            "dev" | "test" => "debug",
            "release" | "bench" => "release",
            other => other,
        });
        let suffix = std::env::consts::EXE_SUFFIX;
        let target_path = dir.join(format!("{}{suffix}", options.binary));
        let flags = [options.all_features, options.no_default_features].map(u8::from);
        let features = options.features.join(",");
        let key = hash_parts([
            package.workspace_root.as_os_str().as_bytes(),
            package.dir.as_os_str().as_bytes(),
            target_path.as_os_str().as_bytes(),
            options.profile.as_bytes(),
            target.unwrap_or_default().as_bytes(),
            features.as_bytes(),
            &flags,
        ]);
        let digits: String = key[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let records =
            home_in(&target_dir).join("receipts").join(format!("{}-{digits}", options.binary));
        let config_states = states(&config.looked_for);
        Ok(Self {
            package,
            options,
            environment,
            config,
            target_dir,
            target_path,
            key,
            records,
            config_states,
        })
    }

    /// Whether the configuration files are what they were when this was found.
    pub(crate) fn is_current(&self) -> bool {
        states(&self.config.looked_for) == self.config_states
    }

    pub(crate) fn root(&self) -> &Path {
        &self.package.workspace_root
    }

    pub(crate) fn world(&self) -> World<'_> {
        World {
            root: self.root(),
            config: &self.config,
            environment: &self.environment,
            target_dir: &self.target_dir,
        }
    }

    /// The lock of whoever builds there: cargo has one for each profile and target too.
    pub(crate) fn builder(&self) -> PathBuf {
        let dir = self.target_path.parent().unwrap_or(&self.target_dir);
        let within = dir.strip_prefix(&self.target_dir).unwrap_or(dir);
        let name = within.display().to_string().replace('/', "+");
        self.home().join("builders").join(format!("{name}.lock"))
    }

    /// Where this crate keeps what it knows.
    pub(crate) fn home(&self) -> PathBuf {
        home_in(&self.target_dir)
    }
}

/// Where this crate keeps what it knows of what is built in `target_dir`.
pub(crate) fn home_in(target_dir: &Path) -> PathBuf {
    target_dir.join(".auto-update")
}

fn states(files: &[PathBuf]) -> Vec<StatVector> {
    let state = |path: &PathBuf| stat(path).ok().flatten().unwrap_or(StatVector::NONE);
    files.iter().map(state).collect()
}
