//! Which files of a crate use each other in a circle: none of them can be read before the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::tasks::tidy::{
    Tree, Violation,
    rust::{Kind, Token, tokens},
};

/// Circles that stay: of which crate, among which files, and why.
const ALLOWED: &[(&str, &[&str], &str)] = &[(
    "job-server",
    &["job.rs", "table.rs"],
    "one ownership: the table has its jobs, and each job tells the table what it takes",
)];

/// A module by its path from the crate's root.
type Module = Vec<String>;

pub(super) fn check(tree: &Tree) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    let mut stays: BTreeSet<usize> = BTreeSet::new();
    let members: Vec<_> = tree.members().collect();
    for package in &members {
        let src = tree.folder(package).join("src");
        for circle in circles(&tree.root.join(&src))? {
            let is_it = |(name, files, _): &(&str, &[&str], &str)| {
                *name == package.name.as_str() && files.iter().eq(circle.iter())
            };
            match ALLOWED.iter().position(is_it) {
                Some(at) => drop(stays.insert(at)),
                None => violations.push(Violation::new(
                    &src,
                    format!(
                        "{} use each other in a circle: move what they share below them, or say in \
                         xtask/src/tasks/tidy/circles.rs why it stays",
                        circle
                            .iter()
                            .map(|file| format!("`{file}`"))
                            .collect::<Vec<_>>()
                            .join(", "),
                    ),
                )),
            }
        }
    }
    for (at, (name, files, _)) in ALLOWED.iter().enumerate() {
        let is_member = members.iter().any(|package| package.name.as_str() == *name);
        if is_member && !stays.contains(&at) {
            let message = format!("there is no circle of {files:?} in `{name}` any more");
            violations.push(Violation::new("xtask/src/tasks/tidy/circles.rs", message));
        }
    }
    Ok(violations)
}

/// The circles among the files below `src`, each by its files in order.
///
/// A module and what lies below it count as one: a parent is there to bring its children together.
fn circles(src: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    let mut files = BTreeMap::new();
    collect(src, &mut Vec::new(), &mut files)?;
    let mut sources = BTreeMap::new();
    for (module, file) in &files {
        let path = src.join(file);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
        sources.insert(module.clone(), text);
    }
    let used = uses(&sources);
    let mut reached: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for from in files.keys() {
        let mut seen: BTreeSet<&Module> = BTreeSet::new();
        let mut next = vec![from];
        while let Some(module) = next.pop() {
            next.extend(used.get(module).into_iter().flatten().filter(|to| seen.insert(*to)));
        }
        reached.insert(from, seen);
    }
    let reaches = |from: &Module, to: &Module| reached[from].contains(to);
    let mut circles = BTreeSet::new();
    for one in files.keys().filter(|one| reaches(one, one)) {
        let circle = files.iter().filter(|(other, _)| reaches(one, other) && reaches(other, one));
        circles.insert(circle.map(|(_, file)| file.display().to_string()).collect::<Vec<_>>());
    }
    Ok(circles.into_iter().collect())
}

/// The modules of the library, or of the program where there is none, with their files.
fn collect(
    src: &Path,
    folder: &mut Module,
    files: &mut BTreeMap<Module, PathBuf>,
) -> anyhow::Result<()> {
    let within: PathBuf = folder.iter().collect();
    let here = src.join(&within);
    let entries = match fs::read_dir(&here) {
        Ok(entries) => entries,
        Err(_) if folder.is_empty() => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list `{}`", here.display()));
        }
    };
    let has_library = src.join("lib.rs").is_file();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{}`", here.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            // Programs of their own.
            if !(folder.is_empty() && name == "bin") {
                folder.push(name);
                collect(src, folder, files)?;
                folder.pop();
            }
        } else if let Some(stem) = name.strip_suffix(".rs") {
            let mut module = folder.clone();
            match stem {
                "lib" if folder.is_empty() => {}
                "main" if folder.is_empty() && has_library => continue,
                "main" if folder.is_empty() => {}
                "mod" => {}
                stem => module.push(stem.to_owned()),
            }
            files.insert(module, within.join(&name));
        }
    }
    Ok(())
}

/// What each module uses, its own parents and children left out.
fn uses(sources: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeSet<Module>> {
    let paths: BTreeMap<&Module, Paths> =
        sources.iter().map(|(module, text)| (module, Paths::of(&tokens(text)))).collect();
    let mut passed_on: HashMap<(&Module, &str), &[String]> = HashMap::new();
    for (module, paths) in &paths {
        for path in &paths.passed_on {
            if let Some(name) = path.last() {
                passed_on.insert((*module, name.as_str()), path);
            }
        }
    }
    let resolve = |module: &Module, path: &[String]| {
        let mut at = absolute(sources, module, path)?;
        // A name that is passed on belongs to the file that has it.
        for _ in 0..sources.len() {
            let known = (0..=at.len()).rev().find(|end| sources.contains_key(&at[..*end]))?;
            let rest = at.split_off(known);
            let Some(name) = rest.first() else { return Some(at) };
            let Some(target) = passed_on.get(&(&at, name.as_str())) else { return Some(at) };
            let Some(next) = absolute(sources, &at, target) else { return Some(at) };
            at = next.into_iter().chain(rest.into_iter().skip(1)).collect();
        }
        None
    };
    let mut used: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, paths) in &paths {
        let to = paths.used.iter().filter_map(|path| resolve(module, path));
        let is_apart = |to: &Module| !to.starts_with(module) && !module.starts_with(to);
        used.insert((*module).clone(), to.filter(is_apart).collect());
    }
    used
}

/// The path from the crate's root; `None` where it leads out of the crate.
fn absolute(
    sources: &BTreeMap<Module, String>,
    module: &[String],
    path: &[String],
) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let (_, above) = module.split_last()?;
            let is_above = rest.first().is_some_and(|next| next == "super");
            if is_above { absolute(sources, above, rest) } else { Some([above, rest].concat()) }
        }
        _ => {
            let child = [module, &path[..1]].concat();
            sources.contains_key(&child).then(|| [module, path].concat())
        }
    }
}

/// The paths that a file names.
#[derive(Debug, Default)]
struct Paths {
    used: Vec<Vec<String>>,
    /// Of these, what it exports.
    passed_on: Vec<Vec<String>>,
}

impl Paths {
    fn of(tokens: &[Token<'_>]) -> Self {
        let mut paths = Self::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let is_word = token.kind == Kind::Word;
            if is_word && token.text == "use" {
                let mut named = Vec::new();
                let end = tree(tokens, at + 1, &[], &mut named);
                if is_exported(&tokens[..at]) {
                    paths.passed_on.extend(named.iter().cloned());
                }
                paths.used.extend(named);
                at = end;
            } else if is_word
                && matches!(token.text, "crate" | "self" | "super")
                && tokens.get(at + 1).is_some_and(|next| next.text == "::")
            {
                let mut path = vec![token.text.to_owned()];
                at += 1;
                while let [mark, word, ..] = &tokens[at..]
                    && mark.text == "::"
                    && word.kind == Kind::Word
                {
                    path.push(word.text.to_owned());
                    at += 2;
                }
                paths.used.push(path);
            } else {
                at += 1;
            }
        }
        paths
    }
}

/// Whether `pub` or `pub(..)` is the last of `before`.
fn is_exported(before: &[Token<'_>]) -> bool {
    match before {
        [.., last] if last.text == ")" => {
            let open = before.iter().rposition(|token| token.text == "(").unwrap_or(0);
            before[..open].last().is_some_and(|token| token.text == "pub")
        }
        [.., last] => last.text == "pub",
        [] => false,
    }
}

/// Reads what stands behind `use` or a `{` in it, behind `prefix`; gives where it ends.
fn tree(
    tokens: &[Token<'_>],
    mut at: usize,
    prefix: &[String],
    named: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut is_renamed = false;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.text {
            "{" => {
                at = tree(tokens, at, &path, named);
                path.truncate(prefix.len());
            }
            "," | "}" | ";" => {
                if path.len() > prefix.len() {
                    named.push(path.clone());
                }
                path.truncate(prefix.len());
                is_renamed = false;
                if token.text != "," {
                    break;
                }
            }
            "as" => is_renamed = true,
            // `a::{self}` is `a`.
            "self" if path.len() > prefix.len() || !prefix.is_empty() => named.push(path.clone()),
            word if token.kind == Kind::Word && !is_renamed => path.push(word.to_owned()),
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(source: &str) -> Vec<String> {
        let mut paths = Paths::of(&tokens(source)).used;
        paths.sort();
        paths.into_iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn a_use_names_each_of_its_paths() {
        assert_eq!(
            named("use crate::{a::{self, B as _, C}, d::E}; fn f() { super::g::h() }"),
            ["crate::a", "crate::a::B", "crate::a::C", "crate::d::E", "super::g::h"]
        );
    }

    #[test]
    fn what_is_exported_is_told_from_what_is_used() {
        let paths = Paths::of(&tokens("pub(crate) use a::B; pub use c::D; use e::F;"));
        assert_eq!(paths.passed_on, [["a", "B"], ["c", "D"]]);
    }

    fn made(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        circles(folder.path()).unwrap()
    }

    #[test]
    fn a_circle_is_found_through_exports_and_through_others() {
        let found = made(&[
            ("lib.rs", "mod a; mod b; mod c; mod d; pub use crate::a::One;"),
            ("a.rs", "use crate::b::two;"),
            ("b.rs", "fn two() { super::c::three() }"),
            ("c.rs", "use crate::One;"),
            ("d.rs", "use crate::a;"),
        ]);
        assert_eq!(found, [["a.rs", "b.rs", "c.rs"]]);
    }

    #[test]
    fn a_parent_may_use_its_children_and_they_it() {
        let found = made(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod b; use b::one; pub(crate) fn two() {}"),
            ("a/b.rs", "use super::two; pub(crate) fn one() {}"),
        ]);
        assert_eq!(found, [[""; 0]; 0]);
    }

    #[test]
    fn unit_tests_and_other_crates_make_no_circle() {
        let found = made(&[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::one; use b::two;"),
            ("b.rs", "use a::two; #[cfg(test)] mod tests { use crate::a; }"),
        ]);
        assert_eq!(found, [[""; 0]; 0]);
    }
}
