use std::process::{Command, Stdio};

use anyhow::bail;

use crate::tasks::setup::{names, need::Need, tool::output_of};

/// A package manager: the program, what to call before, how to install, and its names for what is
/// needed.
struct Manager {
    program: &'static str,
    refresh: Option<&'static str>,
    install: &'static [&'static str],
    needs_root: bool,
    names: fn(Need) -> &'static str,
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        refresh: Some("update"),
        install: &["install", "-y", "--no-install-recommends"],
        needs_root: true,
        names: |need| match need {
            Need::CCompiler => "gcc libc6-dev",
            Need::CxxCompiler => "g++",
            Need::Cmake => "cmake",
            Need::BuildTool => "make",
            Need::Libclang => "libclang-dev",
        },
    },
    Manager {
        program: "dnf",
        refresh: None,
        install: &["install", "-y"],
        needs_root: true,
        names: |need| match need {
            Need::CCompiler => "gcc",
            Need::CxxCompiler => "gcc-c++",
            Need::Cmake => "cmake",
            Need::BuildTool => "make",
            Need::Libclang => "clang-devel",
        },
    },
    Manager {
        program: "pacman",
        refresh: None,
        install: &["-S", "--needed", "--noconfirm"],
        needs_root: true,
        names: |need| match need {
            Need::CCompiler | Need::CxxCompiler => "gcc",
            Need::Cmake => "cmake",
            Need::BuildTool => "make",
            Need::Libclang => "clang",
        },
    },
    Manager {
        program: "zypper",
        refresh: None,
        install: &["--non-interactive", "install"],
        needs_root: true,
        names: |need| match need {
            Need::CCompiler => "gcc",
            Need::CxxCompiler => "gcc-c++",
            Need::Cmake => "cmake",
            Need::BuildTool => "make",
            Need::Libclang => "clang-devel",
        },
    },
    Manager {
        program: "apk",
        refresh: None,
        install: &["add"],
        needs_root: true,
        names: |need| match need {
            Need::CCompiler => "gcc musl-dev",
            Need::CxxCompiler => "g++",
            Need::Cmake => "cmake",
            Need::BuildTool => "make",
            Need::Libclang => "clang-dev",
        },
    },
    Manager {
        program: "brew",
        refresh: None,
        install: &["install"],
        needs_root: false,
        names: |need| match need {
            Need::CCompiler | Need::CxxCompiler => "gcc",
            Need::Cmake => "cmake",
            Need::BuildTool => "make",
            Need::Libclang => "llvm",
        },
    },
];

/// Installs what is missing, if this system's package manager is known and may be used without a
/// password.
pub(super) fn install(missing: &[Need]) {
    if let Some(manager) = manager() {
        install_packages(manager, &names(missing), packages(manager, missing));
    }
}

/// Makes sure of programs whose packages are called as they are by every package manager.
///
/// # Errors
///
/// When one is missing and cannot be installed without a password; says the command.
pub(crate) fn ensure_programs(programs: &[&'static str]) -> anyhow::Result<()> {
    let missing = || programs.iter().copied().filter(|p| output_of(p, &["--version"]).is_none());
    let wanted: Vec<_> = missing().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(manager) = manager() else {
        bail!("not here: {}; install it with this system's package manager", wanted.join(", "));
    };
    install_packages(manager, &wanted.join(", "), wanted.clone());
    if missing().next().is_some() {
        bail!("not here: {}; run: {}", wanted.join(", "), command_for(manager, &wanted));
    }
    Ok(())
}

fn install_packages(manager: &Manager, what: &str, packages: Vec<&'static str>) {
    let sudo = manager.needs_root && !is_root();
    if sudo && output_of("sudo", &["-n", "true"]).is_none() {
        return;
    }
    eprintln!("setup: installing {what} with {}", manager.program);
    if let Some(verb) = manager.refresh {
        run(manager, sudo, &[verb]);
    }
    let args: Vec<_> = manager.install.iter().copied().chain(packages).collect();
    run(manager, sudo, &args);
}

/// The command that a person would install it with.
pub(super) fn command(missing: &[Need]) -> Option<String> {
    let manager = manager()?;
    Some(command_for(manager, &packages(manager, missing)))
}

fn command_for(manager: &Manager, packages: &[&str]) -> String {
    let sudo = if manager.needs_root && !is_root() { "sudo " } else { "" };
    let program = manager.program;
    let refresh = manager.refresh.map(|verb| format!("{sudo}{program} {verb} && "));
    let (install, packages) = (manager.install.join(" "), packages.join(" "));
    format!("{}{sudo}{program} {install} {packages}", refresh.unwrap_or_default())
}

fn manager() -> Option<&'static Manager> {
    MANAGERS.iter().find(|manager| output_of(manager.program, &["--version"]).is_some())
}

fn packages(manager: &Manager, missing: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        missing.iter().flat_map(|need| (manager.names)(*need).split(' ')).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether it succeeded shows in what is there afterwards; what it printed says why not.
fn run(manager: &Manager, sudo: bool, args: &[&str]) {
    let mut command = Command::new(if sudo { "sudo" } else { manager.program });
    if sudo {
        command.args(["-n", manager.program]);
    }
    command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("setup: {} ended with {status}", manager.program),
        Err(error) => eprintln!("setup: cannot start {}: {error}", manager.program),
    }
}
