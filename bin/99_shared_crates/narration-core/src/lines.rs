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
    let seconds = elapsed.as_secs();
    let human = format!("Compiling '{binary}': {done} of {total} ({seconds} s){now}");
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

fn update(binary: &str, action: &str, human: String) -> Narration {
    Narration::new(DAEMON_LIFECYCLE, action, human).about(binary)
}
