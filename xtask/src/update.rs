use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use auto_update::{AutoUpdater, BuildEvent, Error, StaleReason};
use narration_core::{Narration, human, json, lines};
use rbee_config::{NarrationMode, OnBuildFailure};

use crate::failure::BuildFailed;

/// Removes what a terminal shows from the cursor on.
const CLEAR_LINE: &str = "\u{1b}[K";
const STATUS_LENGTH: usize = 79;
/// Between two lines about one build, where none can be written over.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);

/// A binary of the workspace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binary<'a> {
    pub(crate) name: &'a str,
    /// The folder of its crate, from the root.
    pub(crate) sources: &'a str,
    pub(crate) profile: &'a str,
}

/// What a build tells the person, and what it means when it fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) narration: NarrationMode,
    pub(crate) on_build_failure: OnBuildFailure,
}

impl Binary<'_> {
    /// Builds it if it is stale, and returns the executable that is what its sources say.
    ///
    /// Where that fails, the last one that was built is the answer if the policy says so.
    pub(crate) fn fresh(&self, root: &Path, policy: Policy) -> anyhow::Result<PathBuf> {
        let updater = self.updater(root)?;
        let narration = policy.narration;
        let mut reporter = Reporter { binary: self.name, narration, said: Instant::now() };
        let error = match updater.ensure_built_with(|event| reporter.report(event)) {
            Ok(artifact) => return Ok(artifact.path),
            Err(error @ Error::Interrupted { .. }) => return Err(error.into()),
            Err(error) => error,
        };
        if policy.on_build_failure == OnBuildFailure::LastGood
            && let Some(last) = last_of(&updater)?
        {
            eprintln!("warning: {error}; the last good `{}` goes on", self.name);
            return Ok(last);
        }
        Err(BuildFailed { binary: self.name.to_owned(), error }.into())
    }

    /// What was built last, fresh or not. Builds nothing.
    pub(crate) fn last(&self, root: &Path) -> anyhow::Result<Option<PathBuf>> {
        Ok(last_of(&self.updater(root)?)?)
    }

    /// The folder of its profile in the target directory.
    pub(crate) fn folder(&self, root: &Path) -> anyhow::Result<PathBuf> {
        let path = self.updater(root)?.target_path()?;
        Ok(path.parent().context("a binary lies in a folder")?.to_owned())
    }

    fn updater(&self, root: &Path) -> anyhow::Result<AutoUpdater> {
        let updater = AutoUpdater::new(self.name, root.join(self.sources))
            .with_context(|| format!("cannot tell whether `{}` is fresh", self.name))?;
        // A person waits, so that neither gives way to anything nor lets another build do so.
        let updater = updater.profile(self.profile);
        Ok(updater.colours(io::stderr().is_terminal()))
    }
}

/// The last build that is recorded, else whatever cargo left.
fn last_of(updater: &AutoUpdater) -> Result<Option<PathBuf>, Error> {
    if let Some(artifact) = updater.last_good()? {
        return Ok(Some(artifact.path));
    }
    Ok(Some(updater.target_path()?).filter(|path| path.is_file()))
}

/// Says what a build does.
struct Reporter<'a> {
    binary: &'a str,
    narration: NarrationMode,
    /// When a line came last.
    said: Instant,
}

impl Reporter<'_> {
    fn report(&mut self, event: BuildEvent) {
        let narrate = |action, text| Narration::new(lines::DAEMON_LIFECYCLE, action, text);
        match event {
            BuildEvent::WaitingFor { pid } => {
                let who = pid.map_or_else(String::new, |pid| format!(" by process {pid}"));
                let text = format!("'{}' is being built{who}, waiting", self.binary);
                self.say(&narrate("auto_update", text));
            }
            BuildEvent::Building { reasons } => {
                self.say(&lines::checking(self.binary));
                if !reasons.is_empty() {
                    let why = StaleReason::in_brief(&reasons);
                    self.say(&narrate("auto_update", format!("'{}' is stale: {why}", self.binary)));
                }
                self.say(&lines::rebuilding(self.binary));
            }
            BuildEvent::Line(line)
                if self.narration == NarrationMode::Human && lines::is_of_a_dependency(&line) => {}
            BuildEvent::Line(line) => {
                self.say(&Narration::verbatim(lines::DAEMON_LIFECYCLE, line));
            }
            BuildEvent::Progress { done, total, now, elapsed } => {
                self.status(&lines::compiling(self.binary, done, total, &now, elapsed));
            }
            BuildEvent::Overtaken => {
                let text = format!("What '{}' is built from changed again", self.binary);
                self.say(&narrate("auto_update", text));
            }
            BuildEvent::Finished { duration, .. } => {
                self.say(&lines::rebuilt(self.binary).took(duration));
            }
            BuildEvent::Failed { diagnostics, remembered } => {
                // What cargo printed an earlier time; otherwise its lines came just now.
                if remembered {
                    let text = diagnostics.trim_end();
                    self.say(&Narration::verbatim(lines::DAEMON_LIFECYCLE, text));
                }
                self.say(&lines::rebuild_failed(self.binary));
            }
            // That it is fresh is not worth a word.
            _ => {}
        }
    }

    /// Written over by what comes next; where nothing can be, a line where none came for long.
    fn status(&mut self, narration: &Narration) {
        if self.narration != NarrationMode::Human {
            return;
        }
        if io::stderr().is_terminal() {
            // Longer than the line it would stay there.
            let text: String = narration.human.chars().take(STATUS_LENGTH).collect();
            eprint!("{CLEAR_LINE}{text}\r");
        } else if self.said.elapsed() >= STATUS_INTERVAL {
            self.say(narration);
        }
    }

    fn say(&mut self, narration: &Narration) {
        self.said = Instant::now();
        if io::stderr().is_terminal() {
            eprint!("{CLEAR_LINE}");
        }
        match self.narration {
            NarrationMode::Human => eprintln!("{}", human(narration)),
            NarrationMode::Json => eprintln!("{}", json(narration)),
            NarrationMode::Off => {}
        }
    }
}
