use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// How the names of NVIDIA's libraries begin, and those of what is in them.
const LIBRARIES: [&str; 3] = ["libcu", "libnv", "libnccl"];
const SYMBOLS: [&str; 4] = ["cu", "nv", "nccl", "__cuda"];

/// What one library must have to be loaded in another's place.
#[derive(Debug, Default)]
struct Wanted {
    /// By version; those without one under the empty name.
    symbols: BTreeMap<String, BTreeSet<String>>,
}

/// Writes stand-ins for those of NVIDIA's libraries that the libraries in `folder` are linked with and
/// that are not there; gives their names.
///
/// PyTorch's build for CUDA computes on a CPU as well, but the loader takes it only with every library
/// and every symbol that it was linked with. The real ones are 4 GB. In a stand-in each function says
/// that it has failed, so PyTorch finds no device.
pub(super) fn make(folder: &Path) -> anyhow::Result<Vec<String>> {
    let libraries = libraries(folder)?;
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    let mut defined = BTreeSet::new();
    for library in &libraries {
        let symbols = listing("nm", &["-D", "--defined-only"], library)?;
        defined.extend(symbols.lines().filter_map(symbol).map(|(name, _)| name.to_owned()));
    }
    for library in &libraries {
        let headers = listing("objdump", &["-p"], library)?;
        let missing: BTreeSet<&str> =
            needed(&headers).filter(|name| !folder.join(name).exists()).collect();
        if missing.is_empty() {
            continue;
        }
        let versions = versions(&headers);
        let symbols =
            listing("nm", &["-D", "--undefined-only", "--with-symbol-versions"], library)?;
        for name in &missing {
            wanted.entry((*name).to_owned()).or_default();
        }
        for (name, version) in symbols.lines().filter_map(symbol) {
            match version {
                Some(version) => {
                    if let Some(library) = versions.get(version)
                        && missing.contains(library)
                    {
                        wanted.entry((*library).to_owned()).or_default().add(version, name);
                    }
                }
                // Any of them may bring it: the loader looks in all.
                None if is_foreign(name) && !defined.contains(name) => {
                    for library in &missing {
                        wanted.entry((*library).to_owned()).or_default().add("", name);
                    }
                }
                None => {}
            }
        }
    }
    for (name, wanted) in &wanted {
        wanted.write(folder, name)?;
    }
    Ok(wanted.into_keys().collect())
}

impl Wanted {
    fn add(&mut self, version: &str, name: &str) {
        self.symbols.entry(version.to_owned()).or_default().insert(name.to_owned());
    }

    fn write(&self, folder: &Path, library: &str) -> anyhow::Result<()> {
        let all: BTreeSet<&String> = self.symbols.values().flatten().collect();
        let (mut code, mut script) = (String::new(), String::new());
        for name in all {
            // No device, in the numbers of CUDA's errors.
            writeln!(code, "long {name}(void) {{ return 100; }}")?;
        }
        for (version, names) in self.symbols.iter().filter(|(version, _)| !version.is_empty()) {
            writeln!(script, "{version} {{ global:")?;
            names.iter().try_for_each(|name| writeln!(script, "{name};"))?;
            writeln!(script, "}};")?;
        }
        let draft = folder.join(".stand-in");
        fs::create_dir_all(&draft)
            .and_then(|()| fs::write(draft.join("code.c"), code))
            .and_then(|()| fs::write(draft.join("script.map"), &script))
            .with_context(|| format!("cannot write to `{}`", draft.display()))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O0", "-w", "-fno-builtin", "code.c", "-o"]);
        compiler.arg(folder.join(library)).arg(format!("-Wl,-soname,{library}"));
        if !script.is_empty() {
            compiler.arg("-Wl,--version-script=script.map");
        }
        let compiled = compiler.current_dir(&draft).output().context("cannot start `cc`")?;
        if !compiled.status.success() {
            let said = String::from_utf8_lossy(&compiled.stderr);
            bail!("`cc` made no stand-in for `{library}`: {}", said.trim());
        }
        fs::remove_dir_all(&draft).with_context(|| format!("cannot remove `{}`", draft.display()))
    }
}

fn libraries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries: Vec<_> = paths
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".so")))
        .collect();
    libraries.sort();
    Ok(libraries)
}

fn listing(program: &str, flags: &[&str], library: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).args(flags).arg(library).output();
    let output = output.with_context(|| format!("cannot start `{program}`, of GNU's binutils"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program}` cannot read `{}`: {}", library.display(), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Those of NVIDIA's libraries that a library is linked with.
fn needed(headers: &str) -> impl Iterator<Item = &str> {
    let needed = headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED"));
    needed.map(str::trim).filter(|name| LIBRARIES.iter().any(|start| name.starts_with(start)))
}

/// Which library each version of a symbol comes from.
///
/// Under `required from LIBRARY:` stand lines of a hash, flags, a number and the version.
fn versions(headers: &str) -> BTreeMap<&str, &str> {
    let mut versions = BTreeMap::new();
    let mut library = None;
    for line in headers.lines().map(str::trim) {
        if let Some(from) = line.strip_prefix("required from ") {
            library = Some(from.trim_end_matches(':'));
        } else if line.starts_with("0x") {
            if let (Some(library), Some(version)) = (library, line.split_whitespace().nth(3)) {
                versions.insert(version, library);
            }
        } else {
            library = None;
        }
    }
    versions
}

/// Name and version in a line of `nm`; `None` for what may be missing.
fn symbol(line: &str) -> Option<(&str, Option<&str>)> {
    let mut words = line.split_whitespace().rev();
    let (symbol, kind) = (words.next()?, words.next()?);
    if matches!(kind, "w" | "v") {
        return None;
    }
    match symbol.split_once('@') {
        Some((name, version)) => Some((name, Some(version.trim_start_matches('@')))),
        None => Some((symbol, None)),
    }
}

fn is_foreign(symbol: &str) -> bool {
    SYMBOLS.iter().any(|start| symbol.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that is linked with two others, of which one gives its symbols versions; then those
    /// are taken away.
    #[test]
    fn a_library_is_loaded_with_stand_ins_for_what_it_was_linked_with() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let cc = |args: &[&str]| {
            let output = Command::new("cc").args(args).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        fs::write(at("rt.map"), "libcudart.so.13 { global: cudaSome; };\n").unwrap();
        fs::write(at("rt.c"), "int cudaSome(void) { return 0; }").unwrap();
        fs::write(at("nccl.c"), "int ncclSome(void) { return 0; }").unwrap();
        fs::write(at("own.c"), "int cudaOwn(void) { return 7; }").unwrap();
        let torch = "int cudaSome(void); int ncclSome(void); int cudaOwn(void);\n\
                     int sum(void) { return cudaSome() + ncclSome() + cudaOwn(); }";
        fs::write(at("torch.c"), torch).unwrap();
        let (rt, nccl) = ("libcudart.so.13", "libnccl.so.2");
        let version = "-Wl,--version-script=rt.map";
        cc(&["-shared", "-fPIC", "-o", rt, "rt.c", &format!("-Wl,-soname,{rt}"), version]);
        cc(&["-shared", "-fPIC", "-o", nccl, "nccl.c", &format!("-Wl,-soname,{nccl}")]);
        cc(&["-shared", "-fPIC", "-o", "libtorch_own.so", "own.c"]);
        let own = ["libtorch_own.so", rt, nccl, "-Wl,-rpath,$ORIGIN", "-Wl,-z,now"];
        cc(&[&["-shared", "-fPIC", "-o", "libtorch.so", "torch.c"], &own[..]].concat());
        // The linker is content with what a program's libraries lack; the loader is not.
        fs::write(at("main.c"), "int sum(void); int main(void) { return sum() == 207 ? 0 : 1; }")
            .unwrap();
        cc(&["-o", "main", "main.c", "libtorch.so", "-Wl,-rpath,$ORIGIN", "-Wl,-rpath-link,."]);
        fs::remove_file(at(rt)).unwrap();
        fs::remove_file(at(nccl)).unwrap();
        let run = || Command::new(at("main")).output().unwrap();
        let refused = run();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("cannot open shared object file"), "{said}");

        assert_eq!(make(folder.path()).unwrap(), [rt, nccl]);
        let loaded = run();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        assert_eq!(make(folder.path()).unwrap(), [""; 0], "nothing is missing any more");
    }

    #[test]
    fn a_symbol_that_may_be_missing_is_not_wanted() {
        assert_eq!(symbol("                 w cudaSome"), None);
        assert_eq!(symbol("                 U cudaSome@libcudart.so.13"), {
            Some(("cudaSome", Some("libcudart.so.13")))
        });
        assert_eq!(symbol("00000000000010f9 T sum@@V1"), Some(("sum", Some("V1"))));
        assert_eq!(symbol("                 U ncclSome"), Some(("ncclSome", None)));
        assert_eq!(symbol(""), None);
    }
}
