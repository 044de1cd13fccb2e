//! How the program is called by whoever reads its texts.

use std::{
    borrow::Cow,
    env,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use crate::{
    config::{find_sources, has_sources},
    environment::Environment,
};

/// What texts in the sources call it.
pub const IN_A_TREE: &str = "./rbee";

/// What it is called where it was installed.
pub const INSTALLED: &str = "rbee";

/// What whoever starts it says that was typed. No setting, and so not for daemons.
const CALLED_AS: &str = "_RBEE_CALLED_AS";

/// The script of the source tree that this process belongs to, if it belongs to one.
pub fn script_here() -> Option<PathBuf> {
    let executable = env::current_exe().ok();
    let (root, _) = find_sources(&Environment::capture(), executable.as_deref()).ok()?;
    root.map(|root| root.join(INSTALLED))
}

/// Set by a shell that asks what a word may become; nothing is built for it.
pub const COMPLETES: &str = "_RBEE_COMPLETE";

/// Whether a shell asks what a word may become.
pub fn is_completing() -> bool {
    Environment::capture().get(COMPLETES).is_some()
}

static HERE: LazyLock<Called> =
    LazyLock::new(|| Called::by(&Environment::capture(), env::current_exe().ok().as_deref()));

/// How the program is called, and whether there are sources of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// As it was typed where that is known, else `./rbee` in a source tree and `rbee` elsewhere.
    pub name: String,
    pub is_installed: bool,
}

/// The text, which names commands as `./rbee ..`, for those who read what this process writes.
pub fn for_here(text: &str) -> Cow<'_, str> {
    Called::here().told(text)
}

impl Called {
    /// By those who read what this process writes.
    pub fn here() -> &'static Self {
        &HERE
    }

    /// Where there is no source tree.
    pub fn installed() -> Self {
        Self { name: INSTALLED.to_owned(), is_installed: true }
    }

    fn by(environment: &Environment, executable: Option<&Path>) -> Self {
        if !has_sources(environment, executable) {
            return Self::installed();
        }
        let typed = environment.get(CALLED_AS).and_then(|typed| typed.to_str());
        let is_a_word = |typed: &&str| !typed.contains(|char: char| char.is_whitespace());
        let name = typed.filter(is_a_word).unwrap_or(IN_A_TREE).to_owned();
        Self { name, is_installed: false }
    }

    /// The text, which names commands as `./rbee ..`, with the name that the program has.
    pub fn told<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.name == IN_A_TREE || !text.contains(IN_A_TREE) {
            return Cow::Borrowed(text);
        }
        let mut parts = text.split(IN_A_TREE);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // As in `../rbee` and `./rbee.toml`: somebody's file.
            let goes_on = |char: char| char.is_alphanumeric() || "_-/".contains(char);
            let is_longer = told.ends_with(['.', '/'])
                || part.strip_prefix('.').unwrap_or(part).starts_with(goes_on);
            told.push_str(if is_longer { IN_A_TREE } else { &self.name });
            told.push_str(part);
        }
        Cow::Owned(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_called_as_it_was_typed_else_by_where_it_is() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap();
        let executable = tree.join("target/debug/rbee-keeper");
        let called = |typed: &str, executable: &Path| {
            Called::by(&Environment::from_iter([(CALLED_AS, typed)]), Some(executable))
        };
        let in_tree = |typed| called(typed, &executable).name;
        assert_eq!(in_tree(""), "./rbee");
        assert_eq!(in_tree("../rbee"), "../rbee");
        assert_eq!(in_tree("rbee"), "rbee");
        assert_eq!(in_tree("/a b/rbee"), "./rbee");
        assert!(!called("rbee", &executable).is_installed);
        assert_eq!(called("./rbee", Path::new("/opt/rbee/bin/rbee")), Called::installed());
    }

    #[test]
    fn only_the_program_is_called_by_another_name() {
        let told = |text| Called::installed().told(text).into_owned();
        assert_eq!(told("`./rbee infer`, then ./rbee"), "`rbee infer`, then rbee");
        assert_eq!(told("run ./rbee. Then wait"), "run rbee. Then wait");
        assert_eq!(
            told("`./rbee.toml`, `../rbee/x`, `a/./rbee`"),
            "`./rbee.toml`, `../rbee/x`, `a/./rbee`"
        );
        let outside = Called { name: "../rbee".to_owned(), is_installed: false };
        assert_eq!(outside.told("`./rbee ps`, `./rbee rm m`"), "`../rbee ps`, `../rbee rm m`");
    }
}
