use std::{
    env::consts::ARCH,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::tasks::setup::tool::{Tool, output_of};

/// The oldest libclang that bindgen works with.
const OLDEST: u32 = 9;

/// Finds a libclang together with C headers that it can use.
///
/// libclang needs the headers that belong to a compiler, such as `stddef.h`. They lie beside it in
/// a full installation; the Python wheel and some distributions bring the library alone, and then
/// the C compiler's own do.
pub(super) fn find(wheels: &Path) -> Option<Tool> {
    let library = folders(wheels).iter().find_map(|folder| library_in(folder))?;
    let folder = library.parent()?;
    let mut environment = vec![("LIBCLANG_PATH", folder.display().to_string())];
    if !has_headers(folder) {
        let headers = output_of("cc", &["-print-file-name=include"])?;
        let headers = headers.trim();
        if !Path::new(headers).join("stddef.h").is_file() {
            return None;
        }
        environment.push(("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{headers}")));
    }
    Some(Tool { description: format!("libclang, {}", library.display()), environment })
}

/// Where a libclang may lie, best first.
fn folders(wheels: &Path) -> Vec<PathBuf> {
    let mut folders = vec![wheels.join("clang/native")];
    if let Some(folder) = output_of("llvm-config", &["--libdir"]) {
        folders.push(folder.trim().into());
    }
    // One folder for each version, the newest first.
    let mut versions: Vec<_> = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix("llvm-")?.parse::<u32>().ok())
        .collect();
    versions.sort_unstable_by(|a, b| b.cmp(a));
    folders.extend(versions.iter().map(|version| format!("/usr/lib/llvm-{version}/lib").into()));
    folders.push(format!("/usr/lib/{ARCH}-linux-gnu").into());
    folders.extend(
        [
            "/usr/lib64",
            "/usr/lib",
            "/usr/local/lib",
            "/opt/homebrew/opt/llvm/lib",
            "/usr/local/opt/llvm/lib",
            "/Library/Developer/CommandLineTools/usr/lib",
            "/Applications/Xcode.app/Contents/Developer/Toolchains/XcodeDefault.xctoolchain/usr/lib",
        ]
        .map(PathBuf::from),
    );
    folders
}

fn library_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut libraries: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| version_of(name).is_some_and(|version| version >= OLDEST))
        .map(|name| folder.join(name))
        .filter(|path| is_for_this_machine(path))
        .collect();
    libraries.sort();
    libraries.into_iter().next()
}

/// The major version in the name of a libclang; the newest for a name without one, and `None` for
/// everything else, `libclang-cpp` above all, which has another interface.
fn version_of(name: &str) -> Option<u32> {
    let number = |text: &str| text.split('.').next().and_then(|major| major.parse().ok());
    match name {
        "libclang.so" | "libclang.dylib" => Some(u32::MAX),
        // The suffix is the version of the interface, 1, in some distributions.
        _ if let Some(version) = name.strip_prefix("libclang.so.") => {
            number(version).map(|major| if major == 1 { u32::MAX } else { major })
        }
        _ if let Some(rest) = name.strip_prefix("libclang-") => {
            rest.contains(".so").then(|| number(rest))?
        }
        _ => None,
    }
}

/// Whether a library has the format of this program: word size and processor.
fn is_for_this_machine(library: &Path) -> bool {
    if cfg!(not(target_os = "linux")) {
        return library.is_file();
    }
    let header = |path: &Path| {
        let mut bytes = [0_u8; 20];
        File::open(path)?.read_exact(&mut bytes)?;
        Ok::<_, std::io::Error>((bytes[..5].to_vec(), bytes[18..].to_vec()))
    };
    let own = std::env::current_exe().and_then(|path| header(&path));
    matches!((own, header(library)), (Ok(own), Ok(theirs)) if own == theirs)
}

/// Whether the compiler's headers lie where a libclang in `folder` looks for them.
fn has_headers(folder: &Path) -> bool {
    let versions = fs::read_dir(folder.join("clang")).into_iter().flatten();
    versions.filter_map(Result::ok).any(|entry| entry.path().join("include/stddef.h").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_told_from_others_of_similar_name() {
        let accepted = |name| version_of(name).is_some_and(|version| version >= OLDEST);
        for name in [
            "libclang.so",
            "libclang.dylib",
            "libclang.so.1",
            "libclang.so.18.1.1",
            "libclang-14.so",
            "libclang-14.so.14.0.6",
        ] {
            assert!(accepted(name), "{name}");
        }
        for name in [
            "libclang-cpp.so.14",
            "libclang-cpp.so",
            "libclang.a",
            "libclang-14.a",
            "libclang-7.so.1",
            "libclang_rt.so",
            "libclangBasic.so",
        ] {
            assert!(!accepted(name), "{name}");
        }
    }

    #[test]
    fn a_file_that_is_no_library_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libclang.so"), "INPUT(-lclang)").unwrap();
        assert_eq!(library_in(folder.path()), None);
        let own = std::env::current_exe().unwrap();
        fs::copy(own, folder.path().join("libclang.so.18")).unwrap();
        assert_eq!(library_in(folder.path()), Some(folder.path().join("libclang.so.18")));
    }

    #[test]
    fn headers_beside_the_library_are_enough() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_headers(folder.path()));
        let include = folder.path().join("clang/18/include");
        fs::create_dir_all(&include).unwrap();
        fs::write(include.join("stddef.h"), "").unwrap();
        assert!(has_headers(folder.path()));
    }
}
