use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use auto_update::BuildEnvironment;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{llama_cpp::entries, tasks::setup};

/// Programs that the build runs, by what they say of themselves.
const SPEAKING: [(&str, &[&str]); 2] = [("rustc", &["-vV"]), ("cargo", &["-V"])];

/// Programs that it runs, by their content. The last two are one or the other.
const PROGRAMS: [&str; 8] = ["cc", "c++", "ld", "as", "ar", "cmake", "make", "ninja"];

/// Variables that differ between sessions and checkouts and decide nothing that is compiled.
const OF_NO_WEIGHT: [&str; 7] =
    ["PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "CARGO_TARGET_DIR", "RBEE_SOURCE_ROOT"];

/// All that was read for a build and that cargo does not compare, or compares by time only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Read {
    /// Of the tools that setup found they are looked up in the checkout.
    programs: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
    /// Sources and headers, with the SHA-256 of each.
    files: BTreeMap<PathBuf, String>,
}

impl Read {
    /// What a build that ended in `script`, the folder of a build script's run, has read.
    pub(super) fn by(root: &Path, script: &Path) -> anyhow::Result<Self> {
        let out = script.join("out");
        let mut files = BTreeMap::new();
        let mut rules = Vec::new();
        find(&out, &mut rules);
        anyhow::ensure!(!rules.is_empty(), "`{}` says nothing of what was read", out.display());
        for rule in rules {
            let text = fs::read_to_string(&rule);
            let text = text.with_context(|| format!("cannot read `{}`", rule.display()))?;
            for path in prerequisites(&text) {
                let path = out.join(path);
                // What it has made itself comes along.
                if !path.starts_with(&out) && !files.contains_key(&path) {
                    let hash =
                        hash(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
                    files.insert(path, hash);
                }
            }
        }
        Ok(Self { programs: programs(root), variables: variables(), files })
    }

    /// The first thing that is not as it was, for a checkout in `root`.
    pub(super) fn difference(&self, root: &Path) -> Option<String> {
        let now = Self { programs: programs(root), variables: variables(), files: BTreeMap::new() };
        let differing = |then: &BTreeMap<String, String>, now: &BTreeMap<String, String>| {
            let names = then.keys().chain(now.keys());
            names.into_iter().find(|name| then.get(*name) != now.get(*name)).cloned()
        };
        differing(&self.programs, &now.programs)
            .or_else(|| differing(&self.variables, &now.variables))
            .or_else(|| {
                let changed = |(path, then): &(&PathBuf, &String)| {
                    hash(path).map_or(true, |now| now != **then)
                };
                self.files.iter().find(changed).map(|(path, _)| path.display().to_string())
            })
    }
}

fn programs(root: &Path) -> BTreeMap<String, String> {
    let speaking = SPEAKING
        .iter()
        .filter_map(|(name, args)| Some(((*name).to_owned(), setup::output_of(name, args)?)));
    let hashed = PROGRAMS.iter().filter_map(|name| {
        let path = find_program(name)?;
        Some(((*name).to_owned(), hash(&path).ok()?))
    });
    speaking.chain(hashed).chain(tools(root)).collect()
}

/// What setup has told cargo to use in this checkout, by content: it may be anywhere.
fn tools(root: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(root.join(setup::TOOLS).join("config.toml")).unwrap_or_default();
    let config: toml::Table = text.parse().unwrap_or_default();
    let variables = config.get("env").and_then(toml::Value::as_table);
    let named = variables.into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str()?;
        let path = Path::new(value);
        let is_library = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libclang"))
        };
        let content = match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                let mut libraries = entries(path);
                libraries.retain(is_library);
                libraries.sort();
                libraries.iter().filter_map(|path| hash(path).ok()).collect()
            }
            Ok(_) => hash(path).ok()?,
            Err(_) => value.to_owned(),
        };
        Some((name.clone(), content))
    });
    named.collect()
}

/// Where `PATH` leads, through whatever links.
fn find_program(name: &str) -> Option<PathBuf> {
    let environment = BuildEnvironment::capture();
    let path = environment.get("PATH")?.to_owned();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn variables() -> BTreeMap<String, String> {
    let environment = BuildEnvironment::capture();
    let named = environment.travelling().filter_map(|(name, value)| {
        let name = name.to_str().filter(|name| !OF_NO_WEIGHT.contains(name))?;
        Some((name.to_owned(), value.to_string_lossy().into_owned()))
    });
    named.collect()
}

/// The rules that compilers have written below the folder.
fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|end| end == "d") {
            found.push(path);
        }
    }
}

/// What a rule of make's names behind its target.
fn prerequisites(rule: &str) -> Vec<PathBuf> {
    let text = rule.replace("\\\n", " ");
    let Some((_, names)) = text.split_once(": ") else { return Vec::new() };
    let (mut found, mut name) = (Vec::new(), String::new());
    let mut characters = names.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // A blank within a name.
            '\\' if characters.peek() == Some(&' ') => {
                name.push(' ');
                characters.next();
            }
            '$' if characters.peek() == Some(&'$') => {
                name.push('$');
                characters.next();
            }
            '\n' => break,
            blank if blank.is_whitespace() => found.extend(taken(&mut name)),
            other => name.push(other),
        }
    }
    found.extend(taken(&mut name));
    found
}

fn taken(name: &mut String) -> Option<PathBuf> {
    Some(std::mem::take(name)).filter(|name| !name.is_empty()).map(PathBuf::from)
}

fn hash(path: &Path) -> io::Result<String> {
    struct Hasher(Sha256);
    impl io::Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(Sha256::new());
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_what_was_read() {
        let rule = "a.o: /x/a.c \\\n /usr/include/a\\ b.h \\\n  ../c.h $$d\n\n/x/phony.h:\n";
        let names = ["/x/a.c", "/usr/include/a b.h", "../c.h", "$d"].map(PathBuf::from);
        assert_eq!(prerequisites(rule), names);
        assert!(prerequisites("").is_empty());
    }

    #[test]
    fn what_was_read_is_as_it_was_until_a_header_changes_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (script, header) = (folder.path().join("script"), folder.path().join("a.h"));
        fs::create_dir_all(script.join("out/build")).unwrap();
        fs::write(&header, "one").unwrap();
        fs::write(script.join("out/build/made.h"), "made").unwrap();
        let rule = format!("a.o: {} build/made.h\n", header.display());
        fs::write(script.join("out/build/a.o.d"), rule).unwrap();
        let root = folder.path();
        let read = Read::by(root, &script).unwrap();
        assert_eq!(read.files.keys().collect::<Vec<_>>(), [&header]);
        assert!(read.programs.contains_key("cc") && read.programs["rustc"].contains("host: "));
        assert_eq!(read.difference(root), None);
        fs::write(&header, "two").unwrap();
        assert_eq!(read.difference(root), Some(header.display().to_string()));
        fs::remove_file(&header).unwrap();
        assert_eq!(read.difference(root), Some(header.display().to_string()));
        fs::write(&header, "one").unwrap();
        assert_eq!(read.difference(root), None);
        let mut other = read.clone();
        other.programs.insert("cc".to_owned(), "another".to_owned());
        assert_eq!(other.difference(root), Some("cc".to_owned()));
        other = read.clone();
        other.variables.insert("CFLAGS".to_owned(), "-O1".to_owned());
        assert_eq!(other.difference(root), Some("CFLAGS".to_owned()));
        // Another checkout's tools are the same where their content is.
        let cmake = root.join("cmake");
        fs::write(&cmake, "cmake 1").unwrap();
        fs::create_dir(root.join(".tools")).unwrap();
        let tools = format!("[env]\nCMAKE = {:?}\n", cmake.display().to_string());
        fs::write(root.join(".tools/config.toml"), tools).unwrap();
        assert_eq!(read.difference(root), Some("CMAKE".to_owned()));
        let with_tools = Read::by(root, &script).unwrap();
        assert_eq!(with_tools.difference(root), None);
        fs::write(&cmake, "cmake 2").unwrap();
        assert_eq!(with_tools.difference(root), Some("CMAKE".to_owned()));
    }

    #[test]
    fn a_build_that_says_nothing_of_what_it_read_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("out")).unwrap();
        assert!(Read::by(folder.path(), folder.path()).is_err());
    }
}
