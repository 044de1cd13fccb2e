//! Which glibc a binary needs, by the versions of the symbols that it asks for.

use std::{fmt, fs::File, path::Path};

use elf::{ElfStream, ParseError, endian::AnyEndian};

/// A version of it; `GLIBC_2.2.5` counts as 2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc {
    major: u32,
    minor: u32,
}

impl Glibc {
    /// As `getconf GNU_LIBC_VERSION` says it (`glibc 2.36`), or a symbol (`GLIBC_2.34`).
    pub(super) fn read(text: &str) -> Option<Self> {
        let version = text.strip_prefix("glibc ").or_else(|| text.strip_prefix("GLIBC_"))?;
        let mut numbers = version.split('.').map(|number| number.parse().ok());
        Some(Self { major: numbers.next()??, minor: numbers.next()?? })
    }

    /// The oldest that the binary runs with; `None` where it needs none, or does not say.
    pub(super) fn needed_by(binary: &Path) -> Option<Self> {
        newest_asked_for(binary)
            .inspect_err(|error| {
                let binary = binary.display();
                tracing::debug!(%error, %binary, "it cannot be told which glibc it needs");
            })
            .ok()?
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "glibc {}.{}", self.major, self.minor)
    }
}

fn newest_asked_for(binary: &Path) -> Result<Option<Glibc>, ParseError> {
    let mut file = ElfStream::<AnyEndian, _>::open_stream(File::open(binary)?)?;
    let symbols = file.dynamic_symbol_table()?.map_or(0, |(symbols, _)| symbols.len());
    let Some(versions) = file.symbol_version_table()? else { return Ok(None) };
    let mut newest = None;
    for symbol in 0..symbols {
        let asked = versions.get_requirement(symbol)?;
        newest = newest.max(asked.and_then(|asked| Glibc::read(asked.name)));
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::Glibc;

    fn glibc(minor: u32) -> Option<Glibc> {
        Some(Glibc { major: 2, minor })
    }

    #[test]
    fn both_spellings_are_read_and_nothing_else() {
        assert_eq!(Glibc::read("glibc 2.36"), glibc(36));
        assert_eq!(Glibc::read("GLIBC_2.2.5"), glibc(2));
        for text in ["", "GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR", "musl 1.2", "glibc"] {
            assert_eq!(Glibc::read(text), None, "{text}");
        }
        assert!(glibc(9) < glibc(31));
    }

    #[test]
    fn what_is_no_binary_needs_none() {
        let text = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Glibc::needed_by(text.path()), None);
        assert_eq!(Glibc::needed_by("/not/there".as_ref()), None);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_binary_that_runs_here_needs_no_newer_one_than_is_here() {
        let said = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
        let here = Glibc::read(String::from_utf8(said.stdout).unwrap().trim());
        let needed = Glibc::needed_by(&std::env::current_exe().unwrap());
        // Symbols of threads and files have been in the library itself since then.
        assert!(needed >= glibc(2) && needed <= here, "{needed:?} of {here:?}");
    }
}
