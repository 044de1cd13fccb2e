//! What is built, with which options, and where everything about it lies.

use std::{
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{
    compare::World,
    config::CargoConfig,
    environment::BuildEnvironment,
    error::{Error, on},
    hash::{Digest, hash_parts},
    stat::{StatVector, stat},
    workspace::{Package, normalized},
};

/// By the convention of bford.info/cachedir: the first line is what counts.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory holds what cargo builds, and can be made again.\n";

/// The options that decide which of its variants a binary is built as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The name of the binary, or of the example.
    pub(crate) binary: String,
    pub(crate) is_example: bool,
    pub(crate) profile: String,
    pub(crate) target: Option<String>,
    pub(crate) features: Vec<String>,
    pub(crate) all_features: bool,
    pub(crate) no_default_features: bool,
    /// Where cargo is to be started, if that is not the root of the workspace.
    pub(crate) folder: Option<PathBuf>,
    /// Instead of the configured one; relative to that folder.
    pub(crate) target_dir: Option<PathBuf>,
    /// What `--config` adds to the configuration: files, or settings in TOML.
    pub(crate) config: Vec<String>,
    /// Further arguments of cargo, which do not change what is built.
    pub(crate) further: Vec<String>,
}

impl Options {
    /// The binary of that name, as cargo builds it by itself.
    pub(crate) fn of(binary: String) -> Self {
        Self {
            binary,
            is_example: false,
            profile: "dev".to_owned(),
            target: None,
            features: Vec::new(),
            all_features: false,
            no_default_features: false,
            folder: None,
            target_dir: None,
            config: Vec::new(),
            further: Vec::new(),
        }
    }

    /// What follows `cargo build`.
    ///
    /// The package is always named: without it, features that other members turn on would be
    /// turned on here too.
    pub(crate) fn arguments(&self, package: &Package) -> Vec<String> {
        let kind = if self.is_example { "--example" } else { "--bin" };
        let mut arguments: Vec<String> =
            ["-p", &spec(package), kind, &self.binary, "--profile", &self.profile]
                .map(str::to_owned)
                .into();
        arguments.extend(self.places(package));
        arguments.extend(self.further.iter().cloned());
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

    /// The arguments of any cargo command that say where it reads and writes.
    pub(crate) fn places(&self, package: &Package) -> Vec<String> {
        let mut arguments = Vec::new();
        if self.folder.is_some() {
            let manifest = package.dir.join("Cargo.toml").display().to_string();
            arguments.extend(["--manifest-path".to_owned(), manifest]);
        }
        if let Some(dir) = &self.target_dir {
            arguments.extend(["--target-dir".to_owned(), dir.display().to_string()]);
        }
        for config in &self.config {
            arguments.extend(["--config".to_owned(), config.clone()]);
        }
        arguments
    }
}

/// What names the package to cargo: its name, or its folder too where the lock file has not just one
/// of that name.
fn spec(package: &Package) -> String {
    let lock = fs::read_to_string(package.workspace_root.join("Cargo.lock")).unwrap_or_default();
    let line = format!("name = \"{}\"", package.name);
    if lock.lines().filter(|candidate| *candidate == line).count() == 1 {
        return package.name.clone();
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let dir: String = package
        .dir
        .as_os_str()
        .as_bytes()
        .iter()
        .map(
            |&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect();
    format!("path+file://{dir}#{}", package.name)
}

/// A binary with its options, as the configuration places it now.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) package: Package,
    pub(crate) options: Options,
    pub(crate) environment: BuildEnvironment,
    pub(crate) config: CargoConfig,
    pub(crate) target_dir: PathBuf,
    /// What it is built for, where that is not simply the host.
    pub(crate) triple: Option<String>,
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
        let folder = options.folder.as_deref().unwrap_or(&package.workspace_root);
        let config = CargoConfig::load(folder, &environment, &options.config)?;
        let target_dir = match &options.target_dir {
            Some(dir) => normalized(&folder.join(dir)),
            None => package.target_dir(folder, &config, &environment),
        };
        let from_variable = environment.get("CARGO_BUILD_TARGET").and_then(|value| value.to_str());
        let target = options.target.as_deref().or(from_variable).or(config.target.as_deref());
        let mut dir = target_dir.clone();
        // A target may be a file that describes it; its stem names it.
        let stem = target.map(|target| Path::new(target).file_stem().unwrap_or_default());
        dir.extend(stem);
        let triple = stem.and_then(|stem| stem.to_str()).map(str::to_owned);
        dir.push(match options.profile.as_str() {
            "dev" | "test" => "debug",
            "release" | "bench" => "release",
            other => other,
        });
        if options.is_example {
            dir.push("examples");
        }
        let suffix = std::env::consts::EXE_SUFFIX;
        let target_path = dir.join(format!("{}{suffix}", options.binary));
        let flags = [options.all_features, options.no_default_features].map(u8::from);
        let features = options.features.join(",");
        // A configuration that only folders within the workspace have makes a variant of its own.
        let root = &package.workspace_root;
        let inner = folder.ancestors().take_while(|dir| dir.starts_with(root) && dir != root);
        let inner: Vec<PathBuf> = inner.map(|dir| dir.join(".cargo")).collect();
        let is_own =
            |file: &&PathBuf| inner.iter().any(|dir| file.parent() == Some(dir)) && file.is_file();
        let own: Vec<&PathBuf> = config.looked_for.iter().filter(is_own).collect();
        let own = own.iter().flat_map(|file| [file.as_os_str().as_bytes(), b"\0"]);
        let key = hash_parts(
            [
                root.as_os_str().as_bytes(),
                package.dir.as_os_str().as_bytes(),
                target_path.as_os_str().as_bytes(),
                options.profile.as_bytes(),
                target.unwrap_or_default().as_bytes(),
                features.as_bytes(),
                &flags,
            ]
            .into_iter()
            .chain(own)
            .chain(options.config.iter().map(String::as_bytes)),
        );
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
            triple,
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

    /// Whether the workspace was moved or deleted.
    pub(crate) fn is_gone(&self) -> bool {
        !self.root().join("Cargo.toml").exists()
    }

    /// Where cargo is started: what it finds there and above configures it.
    pub(crate) fn folder(&self) -> &Path {
        self.options.folder.as_deref().unwrap_or_else(|| self.root())
    }

    pub(crate) fn world(&self) -> World<'_> {
        World {
            root: self.root(),
            folder: self.folder(),
            config: &self.config,
            environment: &self.environment,
            target_dir: &self.target_dir,
        }
    }

    /// Makes the target directory if there is none, marked as cargo marks it: backups leave it out.
    pub(crate) fn make_target_dir(&self) -> Result<(), Error> {
        let dir = &self.target_dir;
        if dir.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(dir).map_err(on("create", dir))?;
        let tag = dir.join("CACHEDIR.TAG");
        fs::write(&tag, CACHE_TAG).map_err(on("write", &tag))
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
