//! The lines whose wording is a contract: scripts and people match on them.
//!
//! Every symbol in rbee's output is in this table.

use std::time::Duration;

use crate::event::{Level, Narration};

/// The actor of everything that daemon-lifecycle and auto-update do.
pub const DAEMON_LIFECYCLE: &str = "dmn-life";

/// `[dmn-life] auto_update: Checking if 'queen-rbee' needs rebuild...`
pub fn checking(binary: &str) -> Narration {
    update(binary, "auto_update", format!("Checking if '{binary}' needs rebuild..."))
}

/// `[dmn-life] auto_rebuild: 🔨 Rebuilding 'queen-rbee'...`
pub fn rebuilding(binary: &str) -> Narration {
    update(binary, "auto_rebuild", format!("🔨 Rebuilding '{binary}'..."))
}

/// `[dmn-life] build_progress: Compiling 'queen-rbee': 12 of 34 (8 s), tokio, hyper`
pub fn compiling(binary: &str, done: u32, total: u32, now: &str, elapsed: Duration) -> Narration {
    let now = if now.is_empty() { String::new() } else { format!(", {now}") };
    let seconds = seconds(elapsed);
    let human = format!("Compiling '{binary}': {done} of {total} ({seconds}){now}");
    update(binary, "build_progress", human).level(Level::Progress).took(elapsed)
}

/// `[dmn-life] auto_rebuild: ✅ Rebuild complete`
pub fn rebuilt(binary: &str) -> Narration {
    update(binary, "auto_rebuild", "✅ Rebuild complete".to_owned())
}

/// `[dmn-life] auto_rebuild: ❌ Rebuild of 'queen-rbee' failed`
pub fn rebuild_failed(binary: &str) -> Narration {
    update(binary, "auto_rebuild", format!("❌ Rebuild of '{binary}' failed")).level(Level::Error)
}

/// `[dmn-life] auto_update: ✅ 'queen-rbee' is up to date`
pub fn up_to_date(binary: &str) -> Narration {
    update(binary, "auto_update", format!("✅ '{binary}' is up to date"))
}

/// `[dmn-life] spawn: Spawning daemon: target/debug/queen-rbee with args: ["--port", "8500"]`
pub fn spawning(path: &str, args: &[String]) -> Narration {
    let human = format!("Spawning daemon: {path} with args: {args:?}");
    Narration::new(DAEMON_LIFECYCLE, "spawn", human).about(path)
}

/// Whether cargo's line is about a package from elsewhere, which nobody edits: `   Compiling serde v1.0.228`,
/// where one of the workspace has its folder behind it. A first build has hundreds of them.
pub fn is_of_a_dependency(line: &str) -> bool {
    let plain = without_colours(line);
    let mut words = plain.split_whitespace();
    match words.next() {
        Some("Compiling" | "Downloaded") => {
            words.nth(1).is_some_and(|word| word.starts_with('v')) && words.next().is_none()
        }
        Some("Downloading") => words.next() == Some("crates"),
        _ => false,
    }
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(
            part.trim_start_matches(|char: char| !char.is_ascii_alphabetic())
                .get(1..)
                .unwrap_or_default(),
        );
    }
    plain
}

/// `8 s`, `2 min 13 s`
fn seconds(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

fn update(binary: &str, action: &str, human: String) -> Narration {
    Narration::new(DAEMON_LIFECYCLE, action, human).about(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_from_elsewhere_are_told_from_the_workspaces() {
        for line in [
            "   Compiling serde v1.0.228",
            "\u{1b}[1m\u{1b}[92m   Compiling\u{1b}[0m serde v1.0.228",
            "  Downloaded serde v1.0.228",
            " Downloading crates ...",
        ] {
            assert!(is_of_a_dependency(line), "{line}");
        }
        for line in [
            "   Compiling queen-rbee v0.1.0 (/tree/bin/10_queen_rbee)",
            "\u{1b}[1m\u{1b}[92m   Compiling\u{1b}[0m queen-rbee v0.1.0 (/tree/bin/10_queen_rbee)",
            "    Finished `dev` profile [unoptimized + debuginfo] target(s) in 4.94s",
            "error: could not compile `serde` (lib) due to 1 previous error",
            "warning: Compiling serde v1.0.228",
            "",
        ] {
            assert!(!is_of_a_dependency(line), "{line}");
        }
    }

    #[test]
    fn long_builds_are_told_in_minutes() {
        let line = |seconds| compiling("d", 1, 2, "", Duration::from_secs(seconds)).human;
        assert_eq!(line(59), "Compiling 'd': 1 of 2 (59 s)");
        assert_eq!(line(133), "Compiling 'd': 1 of 2 (2 min 13 s)");
    }
}
