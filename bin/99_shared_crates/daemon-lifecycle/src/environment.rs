#![expect(
    clippy::disallowed_methods,
    reason = "a daemon's environment is what its starter left of its own"
)]

//! The environment: what a daemon inherits, and the variable by which it finds its starter.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

/// Says that stdin is a starter's channel, by that socket's inode, which no other descriptor has:
/// a process further down that merely inherits the variable is not deceived.
const CHANNEL: &str = "DAEMON_LIFECYCLE_CHANNEL";

/// What a daemon keeps of its starter's environment; a `*` at the end stands for any rest.
///
/// Never `LD_*` or `DYLD_*`: they change what is executed, and cargo sets them for what it runs. Nor
/// what is a secret by its name: a daemon outlives whoever trusted its starter with it.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_*",
    "TZ",
    "TMPDIR",
    "XDG_*",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// What it keeps besides unless it builds and downloads nothing.
const FOR_BUILDS: &[&str] = &[
    "CARGO*",
    "RUST*",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "AR",
    "LIBCLANG_PATH",
    "CMAKE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_*",
];

/// The environment of a daemon: what is inherited of `own` by default and by `allowed`, with the variables
/// for builds where it is `building`; then what is `set`.
pub(crate) fn of_daemon(
    own: impl IntoIterator<Item = (OsString, OsString)>,
    building: Option<Vec<(OsString, OsString)>>,
    allowed: &[String],
    set: &BTreeMap<String, String>,
    channel: u64,
) -> Vec<(OsString, OsString)> {
    let for_builds = if building.is_some() { FOR_BUILDS } else { &[] };
    let is_allowed = |name: &OsStr| {
        let Some(name) = name.to_str() else { return false };
        let named = INHERITED.iter().chain(for_builds).copied();
        let mut patterns = named.chain(allowed.iter().map(String::as_str));
        patterns.any(|pattern| matches(pattern, name))
    };
    let inherited = own.into_iter().filter(|(name, _)| is_allowed(name));
    let mut environment: BTreeMap<OsString, OsString> = inherited
        .chain(building.unwrap_or_default())
        .filter(|(name, _)| !is_for_the_loader(name) && !is_secret(name))
        .collect();
    environment.extend(set.iter().map(|(name, value)| (name.into(), value.into())));
    environment.insert(CHANNEL.into(), channel.to_string().into());
    environment.into_iter().collect()
}

/// What this process was started with.
pub(crate) fn own() -> impl Iterator<Item = (OsString, OsString)> {
    env::vars_os()
}

/// Cargo's and other programs' credentials are named so.
fn is_secret(name: &OsStr) -> bool {
    const ENDINGS: [&str; 6] = ["TOKEN", "SECRET", "SECRET_KEY", "API_KEY", "PASSWORD", "PASSWD"];
    let name = name.to_string_lossy().to_ascii_uppercase();
    ENDINGS.iter().any(|ending| {
        let before = name.strip_suffix(ending);
        before.is_some_and(|before| before.is_empty() || before.ends_with('_'))
    })
}

/// What a program that is no daemon gets of this process's environment.
pub(crate) fn of_program(allowed: &[&str]) -> Vec<(OsString, OsString)> {
    let is_allowed = |name: &OsStr| {
        let Some(name) = name.to_str() else { return false };
        allowed.iter().any(|pattern| matches(pattern, name))
    };
    env::vars_os().filter(|(name, _)| is_allowed(name) && !is_for_the_loader(name)).collect()
}

fn is_for_the_loader(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"LD_") || name.starts_with(b"DYLD_")
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// The inode of the channel that a starter left at stdin.
pub(crate) fn channel() -> Option<u64> {
    env::var(CHANNEL).ok()?.parse().ok()
}

/// How many sockets were passed on to this process, from descriptor 3 on. Without a pid they are
/// whoever's that gets them.
pub(crate) fn passed_sockets() -> usize {
    let pid = env::var("LISTEN_PID").ok();
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return 0;
    }
    env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Where `sd_notify` says how a process is.
pub(crate) fn notify_socket() -> Option<OsString> {
    env::var_os("NOTIFY_SOCKET")
}

/// How long a service manager waits for a sign of life. Without a pid it is whoever's that has the variable.
pub(crate) fn watchdog() -> Option<Duration> {
    let pid = env::var("WATCHDOG_PID").ok();
    if pid.is_some_and(|pid| pid != std::process::id().to_string()) {
        return None;
    }
    let microseconds = env::var("WATCHDOG_USEC").ok()?.parse().ok().filter(|&usec| usec > 0)?;
    Some(Duration::from_micros(microseconds))
}

/// Where instances live that were given no folder.
pub(crate) fn default_run_dir() -> PathBuf {
    // Not in the runtime directory, which goes with the user's last session; a daemon stays.
    let base = env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))
        .filter(|base| base.is_absolute())
        .unwrap_or_else(|| {
            // Unreadable to others once created, and refused when somebody else has created it.
            env::temp_dir().join(format!("uid-{}", rustix::process::geteuid().as_raw()))
        });
    base.join("daemon-lifecycle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        assert!(matches("LC_*", "LC_ALL"));
        assert!(matches("CC", "CC"));
        assert!(!matches("CC", "CCX"));
    }

    fn names(
        own: &[&str],
        building: Option<&[&str]>,
        allowed: &[&str],
        set: &[&str],
    ) -> Vec<String> {
        let pair = |name: &&str| (OsString::from(name), OsString::from("x"));
        let building = building.map(|names| names.iter().map(pair).collect());
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let set = set.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        let environment = of_daemon(own.iter().map(pair), building, &allowed, &set, 1);
        let names = environment.into_iter().map(|(name, _)| name.into_string().unwrap());
        names.filter(|name| name != CHANNEL).collect()
    }

    #[test]
    fn the_dynamic_loader_is_never_told_anything() {
        let own = ["LD_PRELOAD", "PATH", "DYLD_X"];
        assert_eq!(names(&own, Some(&["CC", "LD_AUDIT"]), &["*"], &[]), ["CC", "PATH"]);
    }

    #[test]
    fn no_secret_is_inherited_but_by_its_own_name() {
        let own = [
            "CARGO_REGISTRY_TOKEN",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "CARGO_REGISTRIES_MINE_SECRET_KEY",
            "HF_TOKEN",
            "SOME_PASSWORD",
            "XDG_SECRET",
            "OPENAI_API_KEY",
        ];
        assert_eq!(names(&own, Some(&own), &["*"], &["GIVEN_TOKEN"]), ["GIVEN_TOKEN"]);
        let alike = ["CARGO_TOKENIZER", "XDG_CURRENT_DESKTOP", "XDG_MONKEY"];
        assert_eq!(names(&alike, Some(&[]), &[], &[]), alike);
    }

    #[test]
    fn what_builds_nothing_gets_nothing_of_builds_and_downloads() {
        let own = ["CARGO_HOME", "CC", "HTTPS_PROXY", "PATH", "PIP_INDEX_URL", "RUSTFLAGS", "TZ"];
        assert_eq!(names(&own, None, &[], &[]), ["PATH", "TZ"]);
        let building = names(&own, Some(&["CFLAGS"]), &["PIP_*"], &[]);
        let most = ["CARGO_HOME", "CC", "CFLAGS", "HTTPS_PROXY", "PATH", "PIP_INDEX_URL"];
        assert_eq!(building, [&most[..], &["RUSTFLAGS", "TZ"]].concat());
    }
}
