//! What a build script told cargo to watch.

use std::path::PathBuf;

/// The instructions in a build script's output that say when to run it again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Watches {
    /// As the script named them: relative to its package, or absolute.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) variables: Vec<String>,
}

impl Watches {
    /// Reads a script's output as cargo does: a line that is no UTF-8 is none, blanks around a line
    /// and behind a value do not count, and a key goes up to the first `=`.
    pub(crate) fn parse(output: &[u8]) -> Self {
        let mut watches = Self::default();
        for line in output.split(|&byte| byte == b'\n') {
            let Ok(line) = str::from_utf8(line) else { continue };
            let line = line.trim();
            let instruction = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:"));
            match instruction.and_then(|text| text.split_once('=')) {
                Some(("rerun-if-changed", path)) => watches.files.push(path.trim_end().into()),
                Some(("rerun-if-env-changed", name)) => {
                    watches.variables.push(name.trim_end().to_owned());
                }
                _ => {}
            }
        }
        watches
    }

    /// Names the folder that the script wrote to, `then`, as it is named `now`.
    pub(crate) fn relocate(&mut self, then: &str, now: &str) {
        for file in &mut self.files {
            if let Some(text) = file.to_str() {
                *file = text.replace(then, now).into();
            }
        }
        for name in &mut self.variables {
            *name = name.replace(then, now);
        }
    }

    /// A script that says nothing is run again when any file of its package changes.
    pub(crate) fn is_silent(&self) -> bool {
        self.files.is_empty() && self.variables.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_instruction_are_understood() {
        let text = b"cargo:rerun-if-changed=a.h\ncargo::rerun-if-env-changed=CC\nhello\ncargo:rustc-cfg=x\n";
        let watches = Watches::parse(text);
        assert_eq!(watches.files, [PathBuf::from("a.h")]);
        assert_eq!(watches.variables, ["CC"]);
        assert!(!watches.is_silent() && Watches::parse(b"cargo:rustc-cfg=x").is_silent());
    }

    #[test]
    fn blanks_around_a_line_and_behind_a_value_do_not_count() {
        let text = b"  cargo:rerun-if-changed=a.h \t\r\n\tcargo::rerun-if-env-changed=CC\r\n";
        let watches = Watches::parse(text);
        assert_eq!(watches.files, [PathBuf::from("a.h")]);
        assert_eq!(watches.variables, ["CC"]);
    }

    #[test]
    fn a_line_that_is_no_text_and_one_inside_another_are_no_instructions() {
        let text =
            b"\xffcargo:rerun-if-changed=a\nsay cargo:rerun-if-changed=b\ncargo:rerun-if-changed\n";
        assert!(Watches::parse(text).is_silent());
    }
}
