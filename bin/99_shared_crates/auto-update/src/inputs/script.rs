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
    pub(crate) fn parse(output: &str) -> Self {
        let mut watches = Self::default();
        for line in output.lines() {
            let Some(instruction) =
                line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:"))
            else {
                continue;
            };
            if let Some(path) = instruction.strip_prefix("rerun-if-changed=") {
                watches.files.push(path.into());
            } else if let Some(name) = instruction.strip_prefix("rerun-if-env-changed=") {
                watches.variables.push(name.to_owned());
            }
        }
        watches
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
        let text = "cargo:rerun-if-changed=a.h\ncargo::rerun-if-env-changed=CC\nhello\ncargo:rustc-cfg=x\n";
        let watches = Watches::parse(text);
        assert_eq!(watches.files, [PathBuf::from("a.h")]);
        assert_eq!(watches.variables, ["CC"]);
        assert!(!watches.is_silent() && Watches::parse("cargo:rustc-cfg=x").is_silent());
    }
}
