use std::{env::consts::ARCH, fs, path::Path};

use super::glibc::Glibc;

/// Instructions that a compiler may use for this machine's processor, by the kernel's names.
const INSTRUCTIONS: [&str; 22] = [
    "pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "abm", "movbe", "avx", "f16c", "fma", "bmi1",
    "avx2", "bmi2", "adx", "avx_vnni", // x86-64
    "asimd", "asimddp", "asimdhp", "atomics", "bf16", "i8mm", "sve", // ARM
];

/// What kind of machine it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    system: String,
    architecture: String,
    /// Such as `glibc 2.36` or `musl 1.2.5`; empty where there is another, or none.
    libc: String,
    pub(super) home: String,
    instructions: String,
}

/// Writes what [`Facts::read`] reads.
pub(super) const SCRIPT: &str = "echo \"system=$(uname -s)\"; echo \"architecture=$(uname -m)\"; \
    echo \"libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || for loader in /lib/ld-musl-*; do \
    [ -x \"$loader\" ] && echo \"musl $(\"$loader\" 2>&1 | sed -n 's/^Version //p')\"; done)\"; \
    echo \"home=$HOME\"; \
    echo \"instructions=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null)\"";

impl Facts {
    pub(super) fn read(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim().to_owned()
        };
        Self {
            system: value("system"),
            architecture: value("architecture"),
            libc: value("libc"),
            home: value("home"),
            instructions: value("instructions"),
        }
    }

    /// Of this machine; what nobody is asked is empty.
    pub(super) fn here() -> Self {
        let instructions = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let line = instructions
            .lines()
            .find(|line| line.starts_with("flags") || line.starts_with("Features"));
        Self {
            system: "Linux".to_owned(),
            architecture: ARCH.to_owned(),
            instructions: line.unwrap_or_default().to_owned(),
            ..Self::default()
        }
    }

    /// Why what is built on a machine `like` this cannot run on it.
    pub(super) fn refuses(&self, like: &Self) -> Option<String> {
        if (&self.system, &self.architecture) != (&like.system, &like.architecture) {
            return Some(format!(
                "it is {} on {}, and what is built here is for {} on {}",
                named(&self.system),
                named(&self.architecture),
                like.system,
                like.architecture,
            ));
        }
        if !self.home.starts_with('/') {
            return Some("it says no home directory for this user".to_owned());
        }
        if cfg!(target_env = "gnu") && !self.libc.starts_with("glibc") {
            let has = if self.libc.is_empty() { "no glibc" } else { &self.libc };
            return Some(format!(
                "it has {has}, and what is built here needs glibc, of this machine's version or a later one"
            ));
        }
        let has = |facts: &Self, instruction: &str| {
            facts.instructions.split_ascii_whitespace().any(|word| word == instruction)
        };
        let lacks = |instruction: &&str| has(like, instruction) && !has(self, instruction);
        let lacking: Vec<&str> = INSTRUCTIONS.into_iter().filter(lacks).collect();
        (!lacking.is_empty()).then(|| {
            format!(
                "its processor lacks {}, and the worker is compiled for this machine's, which has it",
                lacking.join(", ")
            )
        })
    }

    /// Why the binary, which is for this kind of machine, cannot run on it.
    pub(super) fn refuses_binary(&self, binary: &Path) -> Option<String> {
        let (there, needed) = (Glibc::read(&self.libc)?, Glibc::needed_by(binary)?);
        let name = binary.file_name().unwrap_or_default().display();
        (there < needed).then(|| {
            format!(
                "`{name}`, as it is built here, needs {needed} or later, and there is {there}: that \
                 takes a system there which is at least as new as this one"
            )
        })
    }

    /// For whoever is told that a binary does not run there.
    pub(super) fn libc(&self) -> &str {
        named(&self.libc)
    }
}

fn named(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Facts, SCRIPT};

    fn there() -> Facts {
        Facts {
            system: "Linux".into(),
            architecture: "x86_64".into(),
            libc: "glibc 2.36".into(),
            home: "/h/me".into(),
            instructions: "flags : fpu avx avx2 fma".into(),
        }
    }

    #[test]
    fn this_machine_takes_what_is_built_on_it() {
        let said = Command::new("sh").args(["-c", SCRIPT]).output().unwrap();
        let facts = Facts::read(&String::from_utf8(said.stdout).unwrap());
        assert_eq!(facts.refuses(&Facts::here()), None, "{facts:?}");
    }

    #[test]
    fn another_kind_of_machine_is_refused_and_the_difference_named() {
        let here = there();
        let refusal = |there: Facts| there.refuses(&here).unwrap_or_default();
        assert_eq!(refusal(there()), "");
        let arm = Facts { architecture: "aarch64".into(), ..there() };
        assert!(
            refusal(arm)
                .contains("Linux on aarch64, and what is built here is for Linux on x86_64")
        );
        let old = Facts { instructions: "flags : fpu avx".into(), ..there() };
        assert!(refusal(old).contains("lacks fma, avx2"));
        let newer = Facts { instructions: "flags : fpu avx avx2 fma bmi2".into(), ..there() };
        assert_eq!(refusal(newer), "");
        let homeless = Facts { home: String::new(), ..there() };
        assert!(refusal(homeless).contains("no home"));
        if cfg!(target_env = "gnu") {
            assert!(refusal(Facts { libc: String::new(), ..there() }).contains("it has no glibc"));
            let musl = refusal(Facts { libc: "musl 1.2.5".into(), ..there() });
            assert!(
                musl.contains("it has musl 1.2.5, and what is built here needs glibc"),
                "{musl}"
            );
        }
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_binary_that_needs_a_newer_glibc_is_refused_with_both_versions() {
        let binary = std::env::current_exe().unwrap();
        let old = Facts { libc: "glibc 2.1".into(), ..there() };
        let why = old.refuses_binary(&binary).unwrap();
        assert!(why.contains("needs glibc 2.") && why.contains("there is glibc 2.1:"), "{why}");
        let new = Facts { libc: "glibc 2.999".into(), ..there() };
        assert_eq!(new.refuses_binary(&binary), None);
    }

    #[test]
    fn what_a_shell_says_before_is_passed_over() {
        let text = "Welcome!\nsystem=Linux\narchitecture=x86_64\nlibc=glibc 2.36\nhome=/h/me\n\
                    instructions=flags : fpu avx avx2 fma\n";
        assert_eq!(Facts::read(text), there());
    }
}
