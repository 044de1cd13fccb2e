//! vLLM in an environment of its own, which the checkout's chain finds by itself.
//!
//! An environment is made in a folder that is named by what is in it, and is linked to its place when
//! it is whole. So none is used half made, and an engine that runs keeps the files that it was
//! started from while the next one is installed.

mod release; // which vLLM this machine gets, and what that takes
mod stand_ins; // libraries that PyTorch's build for CUDA asks for, and a CPU has no use for

use std::{
    env::consts::{ARCH, OS},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, bail};
use rbee_config::SETUP_VLLM;

use crate::tasks::setup::{
    TOOLS, lock,
    python::Python,
    tool::output_of,
    vllm::release::{Build, PYTHONS, VERSION},
};

/// Prints the version of the vLLM in the environment of the Python that runs it, without loading it.
const ASK_VERSION: &str = "import importlib.metadata; print(importlib.metadata.version('vllm'))";

/// Prints the folder that packages are installed in.
const ASK_PACKAGES: &str = "import sysconfig; print(sysconfig.get_path('purelib'))";

/// A line that every Python of the environment runs as it starts.
///
/// Intel's AMX is for processes that have asked the kernel for it (`ARCH_REQ_XCOMP_PERM`, for the data of
/// tiles), and ends others by an illegal instruction; vLLM uses it unasked. Where there is no AMX this
/// is refused, and nothing else.
const ASK_FOR_AMX: &str = "import ctypes; ctypes.CDLL(None).syscall(158, 0x1023, 18)\n";

/// Installs vLLM unless it is there, and gives the folder of its environment.
///
/// # Errors
///
/// When it cannot be had here: no Python that it exists for, no room, no network. What has been
/// downloaded by then is not downloaded again.
pub(crate) fn ensure(root: &Path) -> anyhow::Result<PathBuf> {
    let tools = root.join(TOOLS);
    fs::create_dir_all(&tools).with_context(|| format!("cannot create `{}`", tools.display()))?;
    let _lock = lock(&tools.join("vllm.lock"))?;
    let build = Build::for_this_machine();
    let place = root.join(SETUP_VLLM);
    if let Some(version) = installed(root, &build) {
        eprintln!("setup: {}", describe(&build, &version, &place));
        return Ok(place);
    }
    if OS != "linux" {
        bail!("vLLM comes in no form that pip could install on this system; it exists for Linux");
    }
    let python = suitable_python()?;
    let downloads = tools.join(format!("{}.downloads", build.folder()));
    require_room(&tools, &downloads, &build)?;
    eprintln!("setup: installing vLLM {VERSION} {} into {SETUP_VLLM}: {}", build.for_, build.costs);
    let environment = tools.join(build.folder());
    install(&python, &environment, &downloads, &build)?;
    link(&environment, &place)?;
    remove_others(&tools, &environment);
    let version = installed(root, &build).context("what was installed is not there")?;
    eprintln!("setup: {}", describe(&build, &version, &place));
    Ok(place)
}

/// Says whether the environment is there, and fails if not. Changes nothing.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let build = Build::for_this_machine();
    let Some(version) = installed(root, &build) else {
        bail!("vLLM {VERSION} {} is not installed: `./rbee setup --vllm` does it", build.for_);
    };
    eprintln!("setup: {}", describe(&build, &version, &root.join(SETUP_VLLM)));
    Ok(())
}

fn describe(build: &Build, version: &str, place: &Path) -> String {
    format!("vLLM {version} {}, {}", build.for_, place.display())
}

/// The version of what is in its place, if that is this build and its Python still runs: it does not
/// once the system's Python that it was made with is gone.
fn installed(root: &Path, build: &Build) -> Option<String> {
    let place = root.join(SETUP_VLLM);
    let linked = fs::read_link(&place).ok()?;
    if linked != Path::new(&build.folder()) {
        return None;
    }
    let version = output_of(place.join("bin/python"), &["-c", ASK_VERSION])?;
    let version = version.trim();
    version.starts_with(VERSION).then(|| version.to_owned())
}

/// A Python of a version that vLLM exists for: the system's usual one, else one beside it.
fn suitable_python() -> anyhow::Result<PathBuf> {
    const ASK: &str = "import sys; print(*sys.version_info[:2])";
    let (oldest, newest) = (*PYTHONS.start(), *PYTHONS.end());
    let mut names = vec!["python3".to_owned()];
    names.extend((oldest..=newest).rev().map(|minor| format!("python3.{minor}")));
    let mut unsuitable = None;
    for name in names {
        let Some(version) = output_of(&name, &["-c", ASK]) else { continue };
        let mut numbers = version.split_whitespace().map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(3)), Some(Ok(minor))) if PYTHONS.contains(&minor) => return Ok(name.into()),
            _ => unsuitable = Some(version.trim().replace(' ', ".")),
        }
    }
    let found = match unsuitable {
        Some(version) => format!("`python3` is {version}"),
        None => "there is no `python3`".to_owned(),
    };
    bail!("vLLM needs Python 3.{oldest} to 3.{newest}, and {found}: install one of these")
}

fn require_room(tools: &Path, downloads: &Path, build: &Build) -> anyhow::Result<()> {
    let disk = rustix::fs::statvfs(tools)
        .with_context(|| format!("cannot look at the disk of `{}`", tools.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = build.bytes.saturating_sub(size(downloads));
    if free < needed {
        bail!(
            "vLLM needs {} on the disk of `{}`, and {} are free",
            gigabytes(needed),
            tools.display(),
            gigabytes(free)
        );
    }
    Ok(())
}

fn gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000)
}

fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
}

/// Makes the environment from nothing, whatever an earlier try has left of it: only downloads are
/// known to be whole.
fn install(
    python: &Path,
    environment: &Path,
    downloads: &Path,
    build: &Build,
) -> anyhow::Result<()> {
    remove(environment)?;
    let arguments = ["-m".as_ref(), "venv".as_ref(), environment.as_os_str()];
    let made = process::Command::new(python).args(arguments).stdin(process::Stdio::null()).output();
    let made = made.with_context(|| format!("cannot start `{}`", python.display()))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&[made.stdout, made.stderr].concat()).into_owned();
        bail!(
            "`{} -m venv` made no environment with pip in it: {}",
            python.display(),
            said.split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }
    let program = environment.join("bin/python");
    let list = environment.join("packages.txt");
    fs::write(&list, build.packages)
        .with_context(|| format!("cannot write `{}`", list.display()))?;
    let pip = Python::at(program.clone());
    download(&pip, &list, downloads, build)
        .context("vLLM could not be downloaded; what has come is kept, so run this again")?;
    pip.install_list(&list, build.with_dependencies, downloads)
        .context("vLLM could not be installed; what has been downloaded is kept")?;
    if build.is_for_cpu() {
        adapt_to_cpu(&program)?;
    }
    // Loads all of its libraries, which takes some seconds.
    eprintln!("setup: starting it once");
    let program = environment.join("bin/vllm");
    let output = process::Command::new(&program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start `{}`", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("nothing").to_owned();
        bail!("the vLLM that was installed does not start; it says: {last}");
    }
    remove(downloads)
}

/// Gets everything as wheels. Pip keeps those of a call when all of it has come, so what takes long
/// comes by itself.
fn download(pip: &Python, list: &Path, downloads: &Path, build: &Build) -> anyhow::Result<()> {
    fs::create_dir_all(downloads)
        .with_context(|| format!("cannot create `{}`", downloads.display()))?;
    build.large.iter().try_for_each(|package| pip.download(package, downloads))?;
    pip.download_list(list, build.with_dependencies, downloads)
}

/// What the packages for the CPU lack to work together.
fn adapt_to_cpu(python: &Path) -> anyhow::Result<()> {
    let packages = output_of(python, &["-c", ASK_PACKAGES]).context("the environment is broken")?;
    let packages = Path::new(packages.trim());
    let stood_in = stand_ins::make(&packages.join("torch/lib"))?;
    if !stood_in.is_empty() {
        eprintln!("setup: CUDA's libraries are stood in for: {}", stood_in.join(", "));
    }
    if ARCH == "x86_64" {
        let file = packages.join("amx.pth");
        fs::write(&file, ASK_FOR_AMX)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    // vLLM asks for the version of a package of its own name, and sees from it that it is for a CPU.
    let metadata = packages.join(format!("vllm-{VERSION}+cpu.dist-info"));
    let text = format!("Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n");
    fs::create_dir_all(&metadata)
        .and_then(|()| fs::write(metadata.join("METADATA"), text))
        .with_context(|| format!("cannot write to `{}`", metadata.display()))
}

/// Lets `place` lead to the environment, by rename.
fn link(environment: &Path, place: &Path) -> anyhow::Result<()> {
    let draft = place.with_extension(format!("link.{}", process::id()));
    let name = environment.file_name().unwrap_or_default();
    symlink(name, &draft)
        .and_then(|()| fs::rename(&draft, place))
        .inspect_err(|_| drop(fs::remove_file(&draft)))
        .with_context(|| format!("cannot make the link `{}`", place.display()))
}

/// Removes environments that were in the place before, unless something runs from them still: the
/// next installation sees to those.
fn remove_others(tools: &Path, current: &Path) {
    for entry in fs::read_dir(tools).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_string_lossy().starts_with("vllm-");
        if is_ours && path != current && !is_in_use(&path) {
            remove(&path).unwrap_or_else(|error| eprintln!("setup: {error:#}"));
        }
    }
}

/// Whether a process has a file of the folder loaded.
fn is_in_use(folder: &Path) -> bool {
    let inside = format!("{}/", folder.display());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut maps = processes.filter_map(|entry| fs::read_to_string(entry.path().join("maps")).ok());
    maps.any(|maps| maps.contains(&inside))
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}
