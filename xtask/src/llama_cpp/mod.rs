//! What cargo made of llama.cpp, kept for this user's other checkouts: most of a first build.
//!
//! A folder of the cache holds the units of `llama-cpp-sys-2` and of everything below it, as they
//! are in a target directory, and a list of all that was read for them. Cargo tells these units
//! apart by version, features, flags and compiler, not by the workspace, and decides as ever which
//! of them it takes; the list is for what cargo does not look at, such as the C compiler and the
//! system's headers. Where one of these is not what it was then, nothing is lent.

mod keep; // into the cache
mod lend; // out of it
mod read; // what a build has read

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rbee_config::RbeeConfig;

use crate::{llama_cpp::read::Read, update::Binary};

const PACKAGE: &str = "llama-cpp-sys-2";

/// Of a target directory, where cargo keeps units. What says that the others are whole comes last.
const FOLDERS: [&str; 3] = ["deps", "build", FINGERPRINTS];
const FINGERPRINTS: &str = ".fingerprint";

/// In a folder of the cache: the units, and the list.
const UNITS: &str = "units";
const READ: &str = "read.json";

/// Gives what the cache has to a checkout that has not compiled llama.cpp yet, and keeps what one has
/// compiled. Neither is worth a failure: without it cargo compiles.
pub(crate) fn share(config: &RbeeConfig, root: &Path, keeper: &Binary<'_>) {
    let Some(cache) = &config.paths.cache else { return };
    let cache = cache.join("llama.cpp");
    let shared = keeper.folder(root).and_then(|target| {
        if is_compiled(&target) {
            Ok(keep::keep(root, &target, &cache)?)
        } else {
            Ok(lend::lend(root, &cache, &target)?)
        }
    });
    if let Err(error) = shared {
        eprintln!("warning: what llama.cpp was compiled to is not shared: {error:#}");
    }
}

fn is_compiled(target: &Path) -> bool {
    entries(&target.join(FINGERPRINTS)).iter().any(|path| is_of(path, |name| name == PACKAGE))
}

/// Whether the file or folder belongs to a package whose name is right: of `libserde_core-01.rlib`,
/// `serde_core-01.d` and the folder `serde-core-01` that is `serde-core`.
fn is_of(path: &Path, is_right: impl Fn(&str) -> bool) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((stem, _)) = name.rsplit_once('-') else { return false };
    let is_library = [".rlib", ".rmeta", ".so"].iter().any(|end| name.ends_with(end));
    let stem = if is_library { stem.strip_prefix("lib").unwrap_or(stem) } else { stem };
    is_right(&stem.replace('_', "-"))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Cargo's own lock on a target directory; `None` while somebody builds there.
fn lock(target: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(target)?;
    let file = File::options().create(true).append(true).open(target.join(".cargo-lock"))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// Copies a file, or a folder with all that is in it; `seen` gets every file that was made.
fn copy(from: &Path, to: &Path, seen: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    if fs::metadata(from)?.is_dir() {
        fs::create_dir_all(to)?;
        for path in entries(from) {
            copy(&path, &to.join(path.file_name().unwrap_or_default()), seen)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    // Shares the blocks where the file system can.
    fs::copy(from, to)?;
    seen(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_known_by_its_package_however_its_file_is_called() {
        for name in
            ["libclang_sys-01.rlib", "libclang_sys-01.rmeta", "clang_sys-01.d", "clang-sys-01"]
        {
            assert!(is_of(Path::new(name), |package| package == "clang-sys"), "{name}");
        }
        for name in ["clang_sys", "libclang-01", "clang-sys-more-01"] {
            assert!(!is_of(Path::new(name), |package| package == "clang-sys"), "{name}");
        }
    }

    #[test]
    fn what_one_checkout_has_compiled_is_lent_to_another_that_would_read_the_same() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| {
            fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            fs::write(at(name), text).unwrap();
        };
        let (first, cache) = (at("first"), at("cache"));
        write("ggml.h", "one");
        let rule = format!("a.o: {}\n", at("ggml.h").display());
        write("first/build/llama-cpp-sys-2-01/out/a.o.d", &rule);
        // Nothing is kept of a build script that has not come to its end.
        keep::keep(root, &first, &cache).unwrap();
        assert!(!cache.exists());
        write("first/build/llama-cpp-sys-2-01/output", "cargo:x=y");
        write("first/.fingerprint/llama-cpp-sys-2-01/run", "hash");
        write("first/deps/libllama_cpp_sys_2-02.rlib", "units");
        write("first/deps/libbindgen-03.rlib", "what it is compiled with");
        write("first/deps/libaxum-04.rlib", "another's");
        assert!(is_compiled(&first));
        keep::keep(root, &first, &cache).unwrap();

        let lent = |name: &str| {
            lend::lend(root, &cache, &at(name)).unwrap();
            is_compiled(&at(name))
        };
        write("second/deps/libbindgen-03.rlib", "compiled here");
        assert!(lent("second"));
        let read = |name: &str| fs::read_to_string(at("second").join(name)).unwrap();
        assert_eq!(read("deps/libllama_cpp_sys_2-02.rlib"), "units");
        assert_eq!(read("build/llama-cpp-sys-2-01/output"), "cargo:x=y");
        assert_eq!(read("deps/libbindgen-03.rlib"), "compiled here");
        assert!(!at("second/deps/libaxum-04.rlib").exists());
        // Cargo takes for stale what is older than something that it was compiled with.
        let time = |name: &str| fs::metadata(at("second").join(name)).unwrap().modified().unwrap();
        assert!(time("deps/libllama_cpp_sys_2-02.rlib") >= time("deps/libbindgen-03.rlib"));

        write("ggml.h", "two");
        assert!(!lent("third"));
        write("ggml.h", "one");
        let builds = lock(&at("third")).unwrap();
        assert!(builds.is_some() && !lent("third"), "somebody builds there");
        drop(builds);
        assert!(lent("third"));
    }
}
