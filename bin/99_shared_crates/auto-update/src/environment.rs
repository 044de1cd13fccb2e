//! The variables that a build sees, and which of them decide what is built.
//!
//! This is the one module of the crate that reads the process's environment.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

/// The variables under which cargo is run.
///
/// Processes that must agree about what is fresh must build under the same variables, whoever
/// started them and from where. [`capture`](Self::capture) therefore leaves out what cargo, rustup
/// and test runners set for their own children, so that a process started by `cargo run` and one
/// started from a shell capture the same; and a daemon passes [`travelling`](Self::travelling) on
/// to the daemons it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildEnvironment {
    vars: BTreeMap<OsString, OsString>,
}

impl BuildEnvironment {
    /// The environment of this process, without what cargo set for it.
    pub fn capture() -> Self {
        Self::from_vars(std::env::vars_os())
    }

    /// The environment made of `vars`, without what cargo set for its children.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut vars: BTreeMap<OsString, OsString> = vars.into_iter().collect();
        // `cargo run` points the loader at its own libraries; `cargo fresh` is not run that way.
        if vars.contains_key(OsStr::new("CARGO_MANIFEST_DIR")) {
            vars.remove(OsStr::new("LD_LIBRARY_PATH"));
            vars.remove(OsStr::new("DYLD_FALLBACK_LIBRARY_PATH"));
        }
        vars.retain(|name, _| !name.to_str().is_some_and(is_set_by_cargo));
        Self { vars }
    }

    /// The value of `name`, if it is set.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.vars.get(name.as_ref()).map(OsString::as_os_str)
    }

    /// Sets `name` for builds made with this environment.
    #[must_use]
    pub fn set(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// Unsets `name` for builds made with this environment.
    #[must_use]
    pub fn unset(mut self, name: impl AsRef<OsStr>) -> Self {
        self.vars.remove(name.as_ref());
        self
    }

    /// Every variable that a build sees, by name.
    pub fn vars(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// The variables that a process with a cleared environment needs in order to build the same.
    ///
    /// These are the search path, the home and temporary directories, and those that cargo,
    /// rustup, compilers and usual build scripts read. Variables that only this workspace's own
    /// code names are added by [`AutoUpdater::child_environment`](crate::AutoUpdater::child_environment).
    pub fn travelling(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars().filter(|(name, _)| name.to_str().is_some_and(travels))
    }

    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.get("HOME").map(PathBuf::from)
    }

    pub(crate) fn cargo_home(&self) -> Option<PathBuf> {
        let named = self.get("CARGO_HOME").map(PathBuf::from);
        named.or_else(|| Some(self.home()?.join(".cargo")))
    }

    pub(crate) fn rustup_home(&self) -> Option<PathBuf> {
        let named = self.get("RUSTUP_HOME").map(PathBuf::from);
        named.or_else(|| Some(self.home()?.join(".rustup")))
    }

    /// The variables of cargo and rustc that can change what is built, by name.
    pub(crate) fn significant(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.vars().filter(|(name, _)| name.to_str().is_some_and(is_significant))
    }
}

/// Set by cargo, rustup or a test runner for a child, and meant for nothing below it.
pub(crate) fn is_set_by_cargo(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_MANIFEST_LINKS",
        "CARGO_CRATE_NAME",
        "CARGO_BIN_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        "CARGO_MAKEFLAGS",
        "CARGO_RUSTC_CURRENT_DIR",
        "OUT_DIR",
        "RUST_RECURSION_COUNT",
    ];
    const PREFIXES: [&str; 5] =
        ["CARGO_PKG_", "CARGO_BIN_EXE_", "CARGO_FEATURE_", "CARGO_CFG_", "NEXTEST"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Cargo or rustc may build something else when this changes.
///
/// By name, since programs of all kinds have variables that begin as cargo's do. Where things lie
/// and which toolchain is used is compared by what it resolves to, so `CARGO_HOME`,
/// `CARGO_TARGET_DIR`, `RUSTUP_TOOLCHAIN` and the like are not among these: rustup sets them for its
/// children to what they were anyway.
fn is_significant(name: &str) -> bool {
    const NAMES: [&str; 22] = [
        "RUSTFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_BOOTSTRAP",
        "RUSTC_FORCE_INCREMENTAL",
        "RUSTC_FORCE_RUSTC_VERSION",
        "RUSTC_OVERRIDE_VERSION_STRING",
        "RUST_TARGET_PATH",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_BUILD_INCREMENTAL",
        "CARGO_BUILD_RUSTC",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_BUILD_WARNINGS",
        "CARGO_HOST_LINKER",
        "CARGO_HOST_RUSTFLAGS",
        "CARGO_TARGET_APPLIES_TO_HOST",
        "__CARGO_DEFAULT_LIB_METADATA",
    ];
    const PREFIXES: [&str; 3] = ["CARGO_PROFILE_", "CARGO_RESOLVER_", "CARGO_UNSTABLE_"];
    let is_of_target = name.starts_with("CARGO_TARGET_")
        && ["_LINKER", "_RUSTFLAGS"].iter().any(|suffix| name.ends_with(suffix));
    is_of_target
        || NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || cfg!(target_vendor = "apple") && is_significant_on_apple(name)
}

/// The compiler asks for these where it links for Apple's systems.
fn is_significant_on_apple(name: &str) -> bool {
    name == "SDKROOT" || name.ends_with("_DEPLOYMENT_TARGET")
}

fn travels(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TMPDIR",
        "CC",
        "CXX",
        "CPP",
        "AR",
        "LD",
        "LD_LIBRARY_PATH",
        "NM",
        "RANLIB",
        "SDKROOT",
        "DEVELOPER_DIR",
        "MACOSX_DEPLOYMENT_TARGET",
        "SOURCE_DATE_EPOCH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    const PREFIXES: [&str; 24] = [
        "CARGO",
        "RUST",
        "CC_",
        "CXX_",
        "CFLAGS",
        "CXXFLAGS",
        "CPPFLAGS",
        "LDFLAGS",
        "AR_",
        "ARFLAGS",
        "RANLIB_",
        "HOST_",
        "TARGET_",
        "PKG_CONFIG",
        "CMAKE",
        "LIBCLANG",
        "LLVM_",
        "CLANG_",
        "BINDGEN_",
        "OPENSSL_",
        "CUDA",
        "HIP_",
        "ROCM_",
        "XDG_CACHE_HOME",
    ];
    // A proxy may be needed to fetch crates; credentials of registries are cargo's to keep.
    let proxy = matches!(
        name.to_ascii_lowercase().as_str(),
        "http_proxy" | "https_proxy" | "all_proxy" | "no_proxy"
    );
    proxy || NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
