//! Which compiler a build uses, told from files, so that asking starts no process.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{config::CargoConfig, environment::BuildEnvironment};

/// The toolchain that rustup was told to use by a variable, which it also sets for its children.
pub(crate) const OVERRIDE: &str = "RUSTUP_TOOLCHAIN";

/// The compiler's own directory, asked of the compiler once per build that may have changed it.
pub(crate) fn sysroot(
    root: &Path,
    config: &CargoConfig,
    environment: &BuildEnvironment,
) -> Option<PathBuf> {
    let rustc = program(Tool::Rustc, config, environment);
    let mut command = Command::new(rustc);
    command.args(["--print", "sysroot"]).current_dir(root).stdin(Stdio::null());
    command.env_clear().envs(environment.vars());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end()))
}

/// Whether the toolchain named by the variable, or its absence, leads to `sysroot`, which was
/// found when the variable was `recorded`.
pub(crate) fn leads_to(
    sysroot: &Path,
    recorded: Option<&OsStr>,
    environment: &BuildEnvironment,
) -> bool {
    let named = environment.get(OVERRIDE);
    if named == recorded {
        return true;
    }
    let Some(named) = named else { return false };
    // rustup sets the full name, with the host, of a directory beside the others.
    sysroot.file_name() == Some(named)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Cargo,
    Rustc,
}

/// The files that decide which compiler is used.
#[derive(Debug, Default)]
pub(crate) struct ToolFiles {
    /// Programs: recorded by their state, not by their bytes.
    pub(crate) programs: Vec<PathBuf>,
    /// Small files, some of them absent.
    pub(crate) settings: Vec<PathBuf>,
    /// Links that give a toolchain its name.
    pub(crate) links: Vec<PathBuf>,
}

/// Lists the files that decide which compiler a build in `root` uses.
pub(crate) fn files(
    root: &Path,
    sysroot: Option<&Path>,
    config: &CargoConfig,
    environment: &BuildEnvironment,
) -> ToolFiles {
    let mut files = ToolFiles::default();
    for tool in [Tool::Cargo, Tool::Rustc] {
        look_up(&program(tool, config, environment), environment, &mut files.programs);
    }
    for (variables, configured) in [
        (["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"], &config.rustc_wrapper),
        (
            ["RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER"],
            &config.rustc_workspace_wrapper,
        ),
    ] {
        let named = variables.into_iter().find_map(|name| environment.get(name));
        let wrapper = named.map(PathBuf::from).or_else(|| configured.clone());
        if let Some(wrapper) = wrapper.filter(|wrapper| !wrapper.as_os_str().is_empty()) {
            look_up(&wrapper, environment, &mut files.programs);
        }
    }
    for dir in root.ancestors() {
        files.settings.extend(["rust-toolchain", "rust-toolchain.toml"].map(|name| dir.join(name)));
    }
    if let Some(home) = environment.rustup_home() {
        files.settings.push(home.join("settings.toml"));
        for name in sysroot.map(|sysroot| names_of(sysroot, &home)).into_iter().flatten() {
            if name.is_symlink() { &mut files.links } else { &mut files.programs }.push(name);
        }
    }
    if let Some(sysroot) = sysroot {
        files.programs.extend(["bin/rustc", "bin/cargo", "lib"].map(|name| sysroot.join(name)));
    }
    files
}

/// What rustup calls the toolchain in `sysroot`: by the same name another may be meant later.
fn names_of(sysroot: &Path, rustup_home: &Path) -> Vec<PathBuf> {
    let Ok(sysroot) = sysroot.canonicalize() else { return Vec::new() };
    let entries = fs::read_dir(rustup_home.join("toolchains")).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.path());
    names.filter(|name| name.canonicalize().is_ok_and(|real| real == sysroot)).collect()
}

fn program(tool: Tool, config: &CargoConfig, environment: &BuildEnvironment) -> PathBuf {
    if tool == Tool::Cargo {
        return "cargo".into();
    }
    let named = ["RUSTC", "CARGO_BUILD_RUSTC"].into_iter().find_map(|name| environment.get(name));
    let named = named.filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(|| config.rustc.clone()).unwrap_or_else(|| "rustc".into())
}

/// Adds every place where `program` is looked for, up to and with the one where it is.
fn look_up(program: &Path, environment: &BuildEnvironment, into: &mut Vec<PathBuf>) {
    if program.components().count() > 1 {
        into.push(program.to_owned());
        return;
    }
    for dir in environment.get("PATH").into_iter().flat_map(std::env::split_paths) {
        let candidate = dir.join(program);
        if !into.contains(&candidate) {
            into.push(candidate.clone());
        }
        if candidate.is_file() {
            return;
        }
    }
}
