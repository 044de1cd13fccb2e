use std::{
    collections::BTreeSet,
    ffi::OsString,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

/// The paths that git tracks, relative to the top of the checkout, by their bytes.
///
/// A kept crate for this file brings fifty more, for what is a list of names here.
#[derive(Debug, Default)]
pub(super) struct Index(BTreeSet<Vec<u8>>);

/// Of a file's state, which comes before its hash.
const STATE: usize = 40;
const HASH_AND_FLAGS: usize = 20 + 2;
const EXTENDED: u16 = 0x4000;

impl Index {
    /// Reads versions 2 to 4; `None` where the bytes are no such index, or only a part of one.
    pub(super) fn parse(bytes: Option<&[u8]>) -> Option<Self> {
        // Before the first file is added there is none.
        let Some(bytes) = bytes else { return Some(Self::default()) };
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let version = number(4)?;
        if bytes.get(..4)? != b"DIRC" || !(2..=4).contains(&version) {
            return None;
        }
        let mut names = BTreeSet::new();
        let mut at = 12;
        let mut name: Vec<u8> = Vec::new();
        for _ in 0..number(8)? {
            let begin = at;
            at += STATE + HASH_AND_FLAGS;
            let flags = u16::from_be_bytes(bytes.get(at - 2..at)?.try_into().ok()?);
            if flags & EXTENDED != 0 {
                at += 2;
            }
            if version == 4 {
                let (cut, length) = offset(bytes.get(at..)?)?;
                at += length;
                name.truncate(name.len().checked_sub(cut)?);
            } else {
                name.clear();
            }
            let length = bytes.get(at..)?.iter().position(|&byte| byte == 0)?;
            name.extend_from_slice(&bytes[at..at + length]);
            at += length + 1;
            if version < 4 {
                // Padded to eight bytes, with at least one that ends the name.
                at = begin + (at - begin).next_multiple_of(8);
            }
            names.insert(name.clone());
        }
        // Where an extension says so, the rest of the names lies in another file.
        while let Some(kind) = bytes.get(at..at + 4).filter(|_| at + 28 <= bytes.len()) {
            if kind == b"link" {
                return None;
            }
            at = at.checked_add(8)?.checked_add(number(at + 4)? as usize)?;
        }
        Some(Self(names))
    }

    pub(super) fn holds(&self, path: &Path) -> bool {
        self.0.contains(path.as_os_str().as_bytes())
    }

    /// Whether anything below the folder is tracked.
    pub(super) fn holds_below(&self, folder: &Path) -> bool {
        self.below(folder).next().is_some()
    }

    /// What is tracked below the folder.
    pub(super) fn below(&self, folder: &Path) -> impl Iterator<Item = PathBuf> {
        let mut prefix = folder.as_os_str().as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let from = self.0.range(prefix.clone()..);
        from.take_while(move |name| name.starts_with(&prefix))
            .map(|name| OsString::from_vec(name.clone()).into())
    }
}

/// A number of variable length, as git writes offsets, and how many bytes it takes.
fn offset(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = usize::from(bytes.first()? & 0x7f);
    let mut length = 1;
    while bytes[length - 1] & 0x80 != 0 {
        let byte = *bytes.get(length)?;
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        length += 1;
    }
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn every_version_lists_what_git_lists() {
        let dir = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.args(arguments).current_dir(dir.path());
            command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
            assert!(command.output().unwrap().status.success(), "git {arguments:?}");
        };
        let read = || fs::read(dir.path().join(".git/index")).unwrap();
        git(&["init", "-q"]);
        let named = ["a", "ab/c", "ab/d", "e f", "g/h/i", "later"].map(PathBuf::from);
        for name in &named {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        git(&["add", "a", "ab", "e f", "g"]);
        // Only this one needs version 3.
        git(&["add", "--intent-to-add", "later"]);
        for version in ["2", "3", "4"] {
            git(&["update-index", "--index-version", version]);
            let bytes = read();
            let index = Index::parse(Some(&bytes)).unwrap();
            let all: Vec<PathBuf> = index.below(Path::new("")).collect();
            assert_eq!(all, named, "version {version}");
            assert!(index.holds_below(Path::new("g/h")) && !index.holds_below(Path::new("g/h/i")));
            assert!(Index::parse(Some(&bytes[..bytes.len() / 2])).is_none());
        }
        git(&["update-index", "--split-index"]);
        assert!(Index::parse(Some(&read())).is_none(), "a part is not taken for the whole");
    }
}
