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
};

/// Says that stdin is a starter's channel, by that socket's inode, which no other descriptor has:
/// a process further down that merely inherits the variable is not deceived.
const CHANNEL: &str = "DAEMON_LIFECYCLE_CHANNEL";

/// What a daemon keeps of its starter's environment; a `*` at the end stands for any rest.
///
/// Never `LD_*` or `DYLD_*`: they change what is executed, and cargo sets them for what it runs.
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
    "RBEE_*",
    "CARGO*",
    "RUST*",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "AR",
    "LIBCLANG_PATH",
    "CMAKE",
    "HF_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_*",
];

/// The environment of a daemon: what is inherited by default, for `building` or by `allowed`,
/// then what is `set`.
pub(crate) fn of_daemon(
    building: Vec<(OsString, OsString)>,
    allowed: &[String],
    set: &BTreeMap<String, String>,
    channel: u64,
) -> Vec<(OsString, OsString)> {
    let is_allowed = |name: &OsStr| {
        let Some(name) = name.to_str() else { return false };
        let mut patterns = INHERITED.iter().copied().chain(allowed.iter().map(String::as_str));
        patterns.any(|pattern| matches(pattern, name))
    };
    let inherited = env::vars_os().filter(|(name, _)| is_allowed(name));
    let mut environment: BTreeMap<OsString, OsString> =
        inherited.chain(building).filter(|(name, _)| !is_for_the_loader(name)).collect();
    environment.extend(set.iter().map(|(name, value)| (name.into(), value.into())));
    environment.insert(CHANNEL.into(), channel.to_string().into());
    environment.into_iter().collect()
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

/// Where `sd_notify` says that a process is ready.
pub(crate) fn notify_socket() -> Option<OsString> {
    env::var_os("NOTIFY_SOCKET")
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

    #[test]
    fn the_dynamic_loader_is_never_told_anything() {
        let allowed = ["*".to_owned()];
        let building = vec![("LD_PRELOAD".into(), "x".into()), ("CC".into(), "cc".into())];
        let inherited = of_daemon(building, &allowed, &BTreeMap::new(), 1);
        assert!(["PATH", "CC"].iter().all(|known| inherited.iter().any(|(name, _)| name == known)));
        assert!(!inherited.iter().any(|(name, _)| name.to_string_lossy().starts_with("LD_")));
    }
}
