//! What the compiler says it read.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// The dep-info that rustc writes beside what it compiles.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DepInfo {
    /// As rustc named them: relative to where it was started, or absolute.
    pub(crate) files: Vec<PathBuf>,
    /// The variables that the code names.
    pub(crate) variables: Vec<String>,
}

impl DepInfo {
    /// Parses rustc's makefile. It has a rule without prerequisites for each file that was read.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut info = Self::default();
        for line in bytes.split(|&byte| byte == b'\n') {
            if let Some(variable) = line.strip_prefix(b"# env-dep:") {
                let name = variable.split(|&byte| byte == b'=').next().unwrap_or_default();
                info.variables.push(unescaped_variable(&String::from_utf8_lossy(name)));
            } else if let Some(path) = line.strip_suffix(b":")
                && !line.starts_with(b"#")
            {
                info.files.push(unescaped_path(path));
            }
        }
        info
    }
}

/// In file names only spaces are escaped.
fn unescaped_path(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        if rest.starts_with(b"\\ ") {
            rest = tail;
            continue;
        }
        bytes.push(*first);
        rest = tail;
    }
    OsString::from_vec(bytes).into()
}

fn unescaped_variable(name: &str) -> String {
    name.replace("\\n", "\n").replace("\\r", "\r").replace("\\\\", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_the_rules_without_prerequisites() {
        let text = b"/t/a.d: src/main.rs src/a\\ b.rs\n\nsrc/main.rs:\nsrc/a\\ b.rs:\n\n# env-dep:HOME=/root\n# env-dep:NOT_SET\n";
        let info = DepInfo::parse(text);
        assert_eq!(info.files, [PathBuf::from("src/main.rs"), "src/a b.rs".into()]);
        assert_eq!(info.variables, ["HOME", "NOT_SET"]);
    }
}
