use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use narration_core::{Level as Loudness, Narration, human, lines};

use crate::{
    chain::{Binary, Freshness, Verdict},
    commands::Row,
};

/// Edits come in bursts: nothing is built until the sources have been the same for this long.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// What is kept for the pane of lines.
const MAX_LINES: usize = 500;

/// What is kept of the compiler's words after a failure.
const MAX_COMPILER_LINES: usize = 200;

/// What happens while `dev` runs.
#[derive(Debug)]
pub(crate) enum Event {
    /// What the sources make of the binary of this level; `inputs` differs with what would be
    /// built.
    Looked {
        level: usize,
        verdict: Verdict,
        inputs: String,
    },
    /// The sources of a level cannot be watched any more.
    Blind(String),
    /// What runs now.
    Runs(Vec<Row>),
    Narrated(Narration),
    /// The update that was begun has ended; with what is to be said of its failure.
    Updated(Result<(), Vec<String>>),
}

/// What a level is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Its binary is up to date, and it does not run.
    Fresh,
    Stale,
    Building,
    HandingOver,
    Draining,
    Serving,
    Failed,
}

impl Doing {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Building => "building",
            Self::HandingOver => "handing over",
            Self::Draining => "draining",
            Self::Serving => "serving",
            Self::Failed => "failed",
        }
    }
}

/// One process, or a level of which none runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) level: &'static str,
    pub(crate) name: String,
    pub(crate) doing: Doing,
    pub(crate) pid: Option<u32>,
    pub(crate) exe_hash: Option<String>,
    pub(crate) began: Option<Instant>,
    pub(crate) why: Option<String>,
}

/// A line for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Milliseconds since the Unix epoch; `None` for what is printed by another program.
    pub(crate) at_ms: Option<u64>,
    pub(crate) text: String,
}

/// Everything that `dev` knows.
#[derive(Debug)]
pub(crate) struct Model {
    levels: Vec<Level>,
    lines: VecDeque<Said>,
    /// How far the build is that is under way.
    progress: Option<String>,
    /// Nothing is built by itself.
    is_paused: bool,
    /// What was printed since the update began.
    compiler: Vec<String>,
    /// Why the last update failed; empty when it did not.
    failure: Vec<String>,
    updating: bool,
    /// What was told last of each process.
    told: BTreeMap<(&'static str, String), Doing>,
}

#[derive(Debug)]
struct Level {
    binary: &'static Binary,
    seen: Option<Seen>,
    /// What the last update was to build.
    attempted: Option<String>,
    /// What the update does with it, or that it failed.
    under_way: Option<Doing>,
    rows: Vec<Row>,
    rows_at: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    verdict: Verdict,
    inputs: String,
    /// When the inputs were seen to be these for the first time.
    since: Instant,
}

impl Model {
    pub(crate) fn new(binaries: &'static [Binary]) -> Self {
        let level = |binary| Level {
            binary,
            seen: None,
            attempted: None,
            under_way: None,
            rows: Vec::new(),
            rows_at: None,
        };
        Self {
            levels: binaries.iter().map(level).collect(),
            lines: VecDeque::new(),
            progress: None,
            is_paused: false,
            compiler: Vec::new(),
            failure: Vec::new(),
            updating: false,
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn apply(&mut self, event: Event, now: Instant) {
        match event {
            Event::Looked { level, verdict, inputs } => {
                if let Some(level) = self.levels.get_mut(level) {
                    level.look(verdict, inputs, now);
                }
                if self.levels.iter().all(Level::is_fresh) {
                    self.failure.clear();
                }
            }
            Event::Blind(why) => self.line(None, format!("the sources cannot be watched: {why}")),
            Event::Runs(rows) => {
                for level in &mut self.levels {
                    let of_level = rows.iter().filter(|row| row.level == level.binary.level);
                    level.rows = of_level.cloned().collect();
                    level.rows_at = Some(now);
                }
            }
            Event::Narrated(narration) => self.narrated(&narration),
            Event::Updated(result) => self.updated(result),
        }
    }

    /// Whether there is something to build or to replace that no update has tried yet, and no
    /// edit has been made for a [`QUIET`] moment.
    pub(crate) fn wants_update(&self, now: Instant) -> bool {
        self.update_at().is_some_and(|at| at <= now)
    }

    /// When that will be so, unless something happens before.
    pub(crate) fn update_at(&self) -> Option<Instant> {
        if self.updating || self.is_paused || !self.levels.iter().any(Level::is_untried) {
            return None;
        }
        let quiet_at = |level: &Level| {
            let seen = level.seen.as_ref()?;
            let is_fresh = seen.verdict.freshness == Freshness::Fresh;
            Some(if is_fresh { seen.since } else { seen.since + QUIET })
        };
        // All are looked at before the first, so that they are built together.
        let all: Option<Vec<_>> = self.levels.iter().map(quiet_at).collect();
        all?.into_iter().max()
    }

    /// Builds what there is to build now, also what was tried before.
    pub(crate) fn try_again(&mut self) {
        self.is_paused = false;
        for level in &mut self.levels {
            level.attempted = None;
        }
    }

    pub(crate) fn pause_or_go_on(&mut self) {
        self.is_paused = !self.is_paused;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Whether what runs is about to be something else, so that it is worth a look every second.
    pub(crate) fn is_moving(&self) -> bool {
        let moves = |doing| matches!(doing, Doing::Building | Doing::HandingOver | Doing::Draining);
        self.updating || self.shown().iter().any(|shown| moves(shown.doing))
    }

    /// To be called when an update begins.
    pub(crate) fn begin_update(&mut self) {
        self.updating = true;
        self.compiler.clear();
        // What failed is being mended, as far as anybody knows.
        self.failure.clear();
        for level in &mut self.levels {
            level.attempted = level.seen.as_ref().map(|seen| seen.inputs.clone());
            level.under_way = None;
        }
    }

    pub(crate) fn is_updating(&self) -> bool {
        self.updating
    }

    /// The chain from the top.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        self.levels.iter().flat_map(Level::shown).collect()
    }

    /// What has been said, the newest last.
    pub(crate) fn lines(&self) -> impl DoubleEndedIterator<Item = &Said> + ExactSizeIterator {
        self.lines.iter()
    }

    /// How far the update is.
    pub(crate) fn progress(&self) -> Option<&str> {
        self.progress.as_deref()
    }

    pub(crate) fn failure(&self) -> &[String] {
        &self.failure
    }

    /// A sentence for each process that does something else than when this was asked last.
    pub(crate) fn news(&mut self) -> Vec<String> {
        let mut told = BTreeMap::new();
        let mut news = Vec::new();
        for shown in self.shown() {
            let key = (shown.level, shown.name.clone());
            if self.told.get(&key) != Some(&shown.doing) && !told.contains_key(&key) {
                news.push(sentence(&shown));
            }
            told.entry(key).or_insert(shown.doing);
        }
        self.told = told;
        news
    }

    fn narrated(&mut self, narration: &Narration) {
        if narration.level == Loudness::Progress {
            self.progress = Some(narration.human.clone());
            return;
        }
        let is_ours = narration.level != Loudness::Verbatim;
        self.line(is_ours.then_some(narration.at_ms), human(narration));
        if narration.level == Loudness::Verbatim {
            if self.updating && self.compiler.len() < MAX_COMPILER_LINES {
                self.compiler.push(narration.human.clone());
            }
            return;
        }
        let target = narration.target.as_deref().unwrap_or_default();
        let name = target.rsplit('/').next().unwrap_or_default();
        let level = self.levels.iter_mut().find(|level| level.binary.name == name);
        if self.updating
            && let Some(level) = level
            && let Some(doing) = told_by(narration, name)
        {
            level.under_way = Some(doing);
        }
    }

    fn updated(&mut self, result: Result<(), Vec<String>>) {
        self.updating = false;
        self.progress = None;
        let is_failed = result.is_err();
        for level in &mut self.levels {
            level.under_way = level.under_way.filter(|doing| is_failed && *doing == Doing::Failed);
        }
        self.failure = match result {
            Ok(()) => Vec::new(),
            Err(said) => {
                let is_error = |line: &String| line.trim_start().starts_with("error");
                let first = self.compiler.iter().position(is_error);
                let mut failure =
                    first.map_or_else(Vec::new, |first| self.compiler.split_off(first));
                failure.extend(said.iter().cloned());
                said.into_iter().for_each(|line| self.line(None, line));
                failure
            }
        };
    }

    fn line(&mut self, at_ms: Option<u64>, text: String) {
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Said { at_ms, text });
    }
}

impl Level {
    fn look(&mut self, verdict: Verdict, inputs: String, now: Instant) {
        let since = match &self.seen {
            Some(seen) if seen.inputs == inputs => seen.since,
            _ => now,
        };
        if verdict.freshness == Freshness::Fresh && self.under_way == Some(Doing::Failed) {
            self.under_way = None;
        }
        self.seen = Some(Seen { verdict, inputs, since });
    }

    fn is_fresh(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.verdict.freshness == Freshness::Fresh)
    }

    /// A failed build is not tried again until there is something else to build.
    fn is_untried(&self) -> bool {
        let Some(seen) = &self.seen else { return false };
        let runs_another = self.rows.iter().any(|row| self.is_outdated(row));
        // The first update brings up what does not run.
        (!self.is_fresh() || runs_another || self.attempted.is_none())
            && self.attempted.as_ref() != Some(&seen.inputs)
    }

    /// Serves from another build than the one that there is.
    fn is_outdated(&self, row: &Row) -> bool {
        let built = self.seen.as_ref().and_then(|seen| seen.verdict.exe_hash.as_ref());
        let is_ours = row.runs(self.binary.level, self.binary.name);
        is_ours && row.state == "ready" && built.is_some() && row.exe_hash.as_ref() != built
    }

    fn shown(&self) -> Vec<Shown> {
        let why = || self.seen.as_ref().and_then(|seen| seen.verdict.reasons.first().cloned());
        if self.rows.is_empty() {
            let doing = match (&self.under_way, &self.seen) {
                (Some(doing), _) => *doing,
                (None, Some(_)) if self.is_fresh() => Doing::Fresh,
                (None, Some(_)) => Doing::Stale,
                // Not looked at yet.
                (None, None) => return Vec::new(),
            };
            let level = self.binary.level;
            return vec![Shown {
                level,
                name: level.to_owned(),
                doing,
                pid: None,
                exe_hash: None,
                began: None,
                why: why(),
            }];
        }
        let shown = |row: &Row| Shown {
            level: row.level,
            name: row.name.clone(),
            doing: self.doing(row),
            pid: row.pid,
            exe_hash: row.exe_hash.clone(),
            began: self
                .rows_at
                .zip(row.age_s)
                .and_then(|(at, age)| at.checked_sub(Duration::from_secs(age))),
            why: row.detail.clone().or_else(why),
        };
        self.rows.iter().map(shown).collect()
    }

    fn doing(&self, row: &Row) -> Doing {
        match (row.state, self.under_way) {
            ("draining", _) => Doing::Draining,
            ("failed", None) => Doing::Failed,
            ("starting", None) => Doing::HandingOver,
            (_, Some(doing)) => doing,
            _ if self.seen.is_some() && !self.is_fresh() || self.is_outdated(row) => Doing::Stale,
            ("ready", None) => Doing::Serving,
            _ => Doing::Fresh,
        }
    }
}

/// What a narration says of the level that it is about.
fn told_by(narration: &Narration, binary: &str) -> Option<Doing> {
    let is = |line: Narration| narration.action == line.action && narration.human == line.human;
    let is_loud = matches!(narration.level, Loudness::Warn | Loudness::Error);
    match narration.action.as_str() {
        "auto_rebuild" if is_loud => Some(Doing::Failed),
        "auto_rebuild" if is(lines::rebuilding(binary)) => Some(Doing::Building),
        "auto_rebuild" | "spawn" => Some(Doing::HandingOver),
        // The old one goes on serving.
        "replace" if is_loud => Some(Doing::Failed),
        "replace" => Some(Doing::HandingOver),
        _ => None,
    }
}

fn sentence(shown: &Shown) -> String {
    let Shown { level, name, doing, pid, why, .. } = shown;
    let who = if name == level { name.clone() } else { format!("{level} {name}") };
    let process = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    match (doing, why) {
        (Doing::Stale | Doing::Failed, Some(why)) => {
            format!("{who} is {}{process}: {why}", doing.name())
        }
        _ => format!("{who} is {}{process}", doing.name()),
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
