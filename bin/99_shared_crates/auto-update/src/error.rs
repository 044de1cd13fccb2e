use std::{io, path::PathBuf};

/// What could not be decided or built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("there is no cargo workspace around `{path}`")]
    NoWorkspace { path: PathBuf },
    #[error("`{path}` holds no cargo package")]
    NoPackage { path: PathBuf },
    #[error("the package `{package}` in `{path}` has no binary named `{name}`")]
    UnknownBinary { name: String, package: String, path: PathBuf },
    #[error("no workspace package provides a binary named `{name}`")]
    NoSuchBinary { name: String },
    #[error(
        "the package `{package}` has {} binaries{}{}; name one of them",
        binaries.len(),
        if binaries.is_empty() { "" } else { ": " },
        binaries.join(", ")
    )]
    WhichBinary { package: String, binaries: Vec<String> },
    #[error("could not find `Cargo.toml` in `{folder}` or any parent directory")]
    NoManifest { folder: PathBuf },
    #[error("the manifest-path must be a path to a Cargo.toml file: `{path}`")]
    NotAManifest { path: PathBuf },
    #[error("manifest path `{path}` does not exist")]
    NoSuchManifest { path: PathBuf },
    #[error("package ID specification `{spec}` did not match any packages of the workspace")]
    NoSuchPackage { spec: String },
    #[error(
        "no {kind} target named `{name}`{}{}",
        if available.is_empty() { "" } else { "; available: " },
        available.join(", ")
    )]
    NoTarget { kind: &'static str, name: String, available: Vec<String> },
    #[error("a bin target must be available to run")]
    NothingToRun,
    #[error(
        "could not determine which binary to run; use `--bin` or `-p`, or the `default-run` manifest key; available binaries: {}",
        names.join(", ")
    )]
    SeveralTargets { names: Vec<String> },
    #[error("`{path}` is not valid TOML")]
    Manifest { path: PathBuf, source: Box<toml::de::Error> },
    #[error("`{path}` names the build target in a way that is not supported: {reason}")]
    Config { path: PathBuf, reason: String },
    #[error("cannot {action} `{path}`")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot start `{program}`")]
    Spawn { program: String, source: io::Error },
    #[error("cannot read what cargo says")]
    CargoOutput { source: io::Error },
    /// Cargo ran, and said why it cannot build this.
    #[error("the build of `{binary}` failed{}", if *remembered { " a short while ago, and its inputs are the same: it is compiled again when they change, in a while, or by hand (`--force`)" } else { "" })]
    BuildFailed {
        binary: String,
        /// As cargo printed it, without colours.
        diagnostics: String,
        /// No compiler was run: this very input has failed before.
        remembered: bool,
    },
    #[error("the build of `{binary}` was interrupted by signal {signal}")]
    Interrupted { binary: String, signal: i32 },
    #[error("cargo did not say where it put `{binary}`")]
    NoExecutable { binary: String },
    #[error("cargo cannot forget what it built of `{packages}`: {diagnostics}")]
    Clean { packages: String, diagnostics: String },
    #[error("the thread that builds `{binary}` ended without an answer")]
    BuilderLost { binary: String },
}

/// Puts what was done on what before an [`io::Error`].
pub(crate) fn on(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { action, path, source }
}
