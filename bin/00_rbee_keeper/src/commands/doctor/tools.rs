use std::{fs, path::Path, process::Stdio};

use tokio::process::Command;

use super::Check;

/// Where distributions put libclang when `./rbee setup` has not.
const LIBCLANG_FOLDERS: [&str; 5] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// What building the chain needs; nothing where nothing is built.
pub(super) async fn checks(build_root: Option<&Path>) -> Vec<Check> {
    let Some(root) = build_root else {
        return vec![Check::ok("build tools", "not needed: nothing is built here")];
    };
    let setup = setup_config(root);
    let (cargo, compiler, cmake, python) = tokio::join!(
        program(root, "Rust toolchain", "cargo", &["--version"]),
        program(root, "C++ compiler", "c++", &["--version"]),
        program(root, "cmake", setup_value(&setup, "CMAKE").unwrap_or("cmake"), &["--version"]),
        program(root, "Python", "python3", &["-m", "pip", "--version"]),
    );
    vec![
        cargo.unwrap_or_else(|found| {
            Check::fail("Rust toolchain", found).remedy("install rustup: https://rustup.rs")
        }),
        compiler.unwrap_or_else(|found| {
            Check::fail("C++ compiler", found)
                .remedy("install g++ or clang, such as by `apt-get install g++`")
        }),
        cmake.unwrap_or_else(|found| Check::fail("cmake", found).remedy("`./rbee setup`")),
        libclang(&setup),
        python.unwrap_or_else(|found| {
            Check::warn("Python", found).remedy(
                "`apt-get install python3-pip`: `./rbee setup` gets cmake and libclang with it",
            )
        }),
    ]
}

fn libclang(setup: &str) -> Check {
    let from_setup = setup_value(setup, "LIBCLANG_PATH");
    let llvm = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let llvm = llvm
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm"))
        })
        .map(|path| path.join("lib"));
    let folders =
        from_setup.map(Into::into).into_iter().chain(LIBCLANG_FOLDERS.map(Into::into)).chain(llvm);
    for folder in folders {
        if holds_libclang(&folder) {
            return Check::ok("libclang", folder.display().to_string());
        }
    }
    Check::fail("libclang", "no libclang that bindgen accepts").remedy("`./rbee setup`")
}

fn holds_libclang(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        // `libclang-cpp` is another library.
        (name.starts_with("libclang.") || name.starts_with("libclang-1"))
            && (name.contains(".so") || name.ends_with(".dylib"))
    })
}

/// The first line that the program prints, or why there is none.
pub(super) async fn program(
    folder: &Path,
    what: &str,
    program: &str,
    arguments: &[&str],
) -> Result<Check, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    match command.output().await {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(Check::ok(what, text.lines().next().unwrap_or(program)))
        }
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            // Python says last what has happened, others first.
            let is_trace = text.starts_with("Traceback");
            let mut lines = text.lines();
            let line = if is_trace { lines.next_back() } else { lines.next() };
            let said = line.unwrap_or("nothing").to_owned();
            Err(format!("`{program} {}` failed: {said}", arguments.join(" ")))
        }
        Err(error) => Err(format!("`{program}` cannot be run: {error}")),
    }
}

/// What `./rbee setup` wrote for cargo; empty when it has not been run.
fn setup_config(root: &Path) -> String {
    fs::read_to_string(root.join(".tools/config.toml")).unwrap_or_default()
}

/// The value of `NAME = "VALUE"`, the only form that `./rbee setup` writes.
fn setup_value<'a>(setup: &'a str, name: &str) -> Option<&'a str> {
    setup.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{holds_libclang, setup_value};

    #[test]
    fn what_setup_wrote_is_found() {
        let setup = "[env]\nCMAKE = \"/w/cmake\"\nLIBCLANG_PATH = \"/w/clang\"\n";
        assert_eq!(setup_value(setup, "CMAKE"), Some("/w/cmake"));
        assert_eq!(setup_value(setup, "LIBCLANG_PATH"), Some("/w/clang"));
        assert_eq!(setup_value(setup, "CC"), None);
    }

    #[test]
    fn only_libclang_itself_counts() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libclang-cpp.so.14"), "").unwrap();
        assert!(!holds_libclang(folder.path()));
        fs::write(folder.path().join("libclang-14.so.1"), "").unwrap();
        assert!(holds_libclang(folder.path()));
    }
}
