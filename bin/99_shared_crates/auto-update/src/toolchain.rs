//! Which compiler a build uses, told from files, so that asking starts no process.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    config::CargoConfig,
    environment::BuildEnvironment,
    hash::{Digest, hash_parts},
};

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

/// Each program that a build may run, by name, and where it is found now.
pub(crate) fn found(
    config: &CargoConfig,
    environment: &BuildEnvironment,
) -> Vec<(PathBuf, Option<PathBuf>)> {
    let find = |program: PathBuf| {
        let place = looked_up(&program, environment).pop().filter(|place| place.is_file());
        (program, place)
    };
    programs(config, environment).into_iter().map(find).collect()
}

/// A digest of what leads to the programs and of where configuration is looked for: while it is the
/// same, what a receipt lists is all there is to compare.
pub(crate) fn leads(config: &CargoConfig, environment: &BuildEnvironment) -> Digest {
    let programs = programs(config, environment);
    let home = environment.rustup_home();
    let paths = programs.iter().chain(&config.looked_for).chain(&home);
    let path = environment.get("PATH").unwrap_or_default();
    hash_parts(std::iter::once(path).chain(paths.map(|path| path.as_os_str())).map(OsStr::as_bytes))
}

/// Whether the program found `now` is the one that was found `then`, by whatever way.
pub(crate) fn is_same(now: &Path, then: &Path, sysroot: Option<&Path>) -> bool {
    if now == then {
        return true;
    }
    let (Ok(now), Ok(then)) = (now.canonicalize(), then.canonicalize()) else { return false };
    // rustup's stand-in leads to the compiler that was recorded; so does the compiler itself.
    let is_stand_in = then.file_name() == Some(OsStr::new("rustup"));
    let is_compilers = || {
        let real = sysroot.and_then(|sysroot| sysroot.canonicalize().ok());
        real.is_some_and(|real| now.parent() == Some(&real.join("bin")))
    };
    now == then || is_stand_in && is_compilers()
}

fn programs(config: &CargoConfig, environment: &BuildEnvironment) -> Vec<PathBuf> {
    let mut programs: Vec<PathBuf> =
        [Tool::Cargo, Tool::Rustc].map(|tool| program(tool, config, environment)).into();
    for (variables, configured) in [
        (["RUSTC_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"], &config.rustc_wrapper),
        (
            ["RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER"],
            &config.rustc_workspace_wrapper,
        ),
    ] {
        let named = variables.into_iter().find_map(|name| environment.get(name));
        let wrapper = named.map(PathBuf::from).or_else(|| configured.clone());
        programs.extend(wrapper.filter(|wrapper| !wrapper.as_os_str().is_empty()));
    }
    let linkers =
        environment.significant().filter(|(name, _)| name.as_bytes().ends_with(b"_LINKER"));
    programs.extend(linkers.map(|(_, linker)| PathBuf::from(linker)));
    programs.extend(config.linkers.iter().cloned());
    programs
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

/// The target that the compiler in `sysroot` builds for by itself.
pub(crate) fn host(sysroot: &Path) -> Option<String> {
    let real = sysroot.canonicalize().ok()?;
    let own = real.file_name()?.to_str()?.to_owned();
    let entries = fs::read_dir(real.join("lib/rustlib")).ok()?.flatten();
    let has_libraries = |entry: &fs::DirEntry| entry.path().join("lib").is_dir();
    let names: Vec<String> = entries
        .filter(has_libraries)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    // Rustup names the folder of a toolchain by its host.
    let named = names.iter().find(|name| own.ends_with(name.as_str()));
    named.or(names.first().filter(|_| names.len() == 1)).cloned()
}

/// What the compiler says of a target, one fact a line; empty where it says nothing.
pub(crate) fn facts(
    folder: &Path,
    config: &CargoConfig,
    environment: &BuildEnvironment,
    triple: &str,
) -> String {
    let mut command = Command::new(program(Tool::Rustc, config, environment));
    command.args(["--print", "cfg", "--target", triple]);
    command.current_dir(folder).stdin(Stdio::null());
    command.env_clear().envs(environment.vars());
    let output = command.output().ok().filter(|output| output.status.success());
    output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default()
}

/// Lists the files that decide which compiler a cargo that is started in `folder` uses.
pub(crate) fn files(
    folder: &Path,
    sysroot: Option<&Path>,
    config: &CargoConfig,
    environment: &BuildEnvironment,
) -> ToolFiles {
    let mut files = ToolFiles::default();
    for program in programs(config, environment) {
        for place in looked_up(&program, environment) {
            if !files.programs.contains(&place) {
                files.programs.push(place);
            }
        }
    }
    for dir in folder.ancestors() {
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

/// Every place where `program` is looked for, up to and with the one where it is.
fn looked_up(program: &Path, environment: &BuildEnvironment) -> Vec<PathBuf> {
    if program.components().count() > 1 {
        return vec![program.to_owned()];
    }
    let mut places: Vec<PathBuf> = Vec::new();
    for dir in environment.get("PATH").into_iter().flat_map(std::env::split_paths) {
        let candidate = dir.join(program);
        let is_there = candidate.is_file();
        places.push(candidate);
        if is_there {
            break;
        }
    }
    places
}
