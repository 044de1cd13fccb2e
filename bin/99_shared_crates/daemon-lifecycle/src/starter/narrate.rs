//! What a person is told.

use auto_update::{BuildEvent, StaleReason};
use narration_core::{
    Level, Narration,
    lines::{self, DAEMON_LIFECYCLE},
};

/// Whether a person is told of what has changed nothing, too.
pub(super) enum Say {
    Everything,
    Builds,
}

/// What has become of the daemon `name`.
pub(super) fn say(action: &str, level: Level, name: &str, human: String) {
    Narration::new(DAEMON_LIFECYCLE, action, human).level(level).about(name).emit();
}

/// What a daemon that takes long to start says of it.
pub(super) fn starting(name: &str, what: &str) {
    Narration::new(DAEMON_LIFECYCLE, "starting", format!("'{name}': {what}")).about(name).emit();
}

/// `slow` is a package, and what is told when cargo begins to compile it.
pub(super) fn build_event(
    name: &str,
    event: &BuildEvent,
    how_much: &Say,
    slow: Option<&(String, String)>,
) {
    let say = |human: String| Narration::new(DAEMON_LIFECYCLE, "auto_update", human).about(name);
    match event {
        BuildEvent::Fresh => {
            if matches!(how_much, Say::Everything) {
                lines::up_to_date(name).emit();
            }
        }
        BuildEvent::WaitingFor { pid: Some(pid) } => {
            say(format!("Waiting for process {pid}, which is building '{name}'")).emit();
        }
        BuildEvent::WaitingFor { pid: None } => {
            say(format!("Waiting for whoever is building '{name}'")).emit();
        }
        BuildEvent::Building { reasons } => {
            if !reasons.is_empty() {
                say(format!("'{name}' is stale: {}", StaleReason::in_brief(reasons))).emit();
            }
            lines::rebuilding(name).emit();
        }
        BuildEvent::Line(line) => {
            Narration::verbatim(DAEMON_LIFECYCLE, line).emit();
            if let Some((_, note)) = slow.filter(|(package, _)| is_compiling(line, package)) {
                say(note.clone()).emit();
            }
        }
        BuildEvent::Progress { done, total, now, elapsed } => {
            lines::compiling(name, *done, *total, now, *elapsed).emit();
        }
        BuildEvent::Raised => {
            say(format!(
                "The build of '{name}' is no longer put off: somebody waits, or it got nothing"
            ))
            .emit();
        }
        BuildEvent::Overtaken => {
            say(format!("What '{name}' is built from changed again: that build is ended")).emit();
        }
        BuildEvent::Finished { duration, identical } => {
            lines::rebuilt(name).took(*duration).emit();
            if *identical {
                say(format!("'{name}' is the same as before, byte for byte")).emit();
            }
        }
        BuildEvent::Failed { diagnostics, remembered } => {
            // A build that was not run again has printed nothing.
            if *remembered {
                say(format!(
                    "'{name}' failed a short while ago from the same sources; `./rbee update` \
                     compiles it again"
                ))
                .emit();
                for line in diagnostics.lines() {
                    Narration::verbatim(DAEMON_LIFECYCLE, line).emit();
                }
            }
            lines::rebuild_failed(name).emit();
        }
        // An event of a later auto-update, of which this crate knows no words.
        _ => {}
    }
}

/// Whether cargo's line is `   Compiling PACKAGE v1.2.3`, and what may follow.
fn is_compiling(line: &str, package: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("Compiling") && words.next() == Some(package)
}
