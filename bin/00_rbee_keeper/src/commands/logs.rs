use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    app::App,
    cli::{Level, LogsArgs},
    failure::Failure,
    render::{LogLine, Paint, log_lines},
    tail::Tail,
};

/// How often a followed file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

const LEVELS: [Level; 3] = [Level::Queen, Level::Hive, Level::Worker];

pub(crate) async fn run(app: &App, args: LogsArgs) -> Result<(), Failure> {
    let zone = if args.utc { TimeZone::UTC } else { TimeZone::system() };
    let paint = Paint::of_stdout();
    let show = |lines: Vec<LogLine>| {
        let one = |line: &LogLine| match &args {
            LogsArgs { raw: true, .. } => format!("{}\n", line.raw),
            LogsArgs { json: true, .. } => format!("{}\n", line.json()),
            _ => format!("{}\n", line.human(&zone, paint)),
        };
        let text: String = lines.iter().map(one).collect();
        if text.is_empty() { Ok(()) } else { app.terminal.out(&text) }
    };
    let mut logs = Logs::of(app, args.level);
    show(logs.last(args.lines)?)?;
    if !logs.any() && !args.follow {
        let who = args.level.map_or("chain", Level::name);
        return Err(Failure::failed(format_args!("the {who} has logged nothing yet"))
            .hint("`./rbee status` shows what runs"));
    }
    if !args.follow {
        return Ok(());
    }
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        show(logs.new_lines()?)?;
    }
}

/// The log files of one level or of all, as far as they have been read.
pub(crate) struct Logs {
    folder: PathBuf,
    level: Option<Level>,
    tails: BTreeMap<PathBuf, Tail>,
}

impl Logs {
    pub(crate) fn of(app: &App, level: Option<Level>) -> Self {
        Self { folder: app.config.paths.logs.clone(), level, tails: BTreeMap::new() }
    }

    /// The last lines of all files together.
    pub(crate) fn last(&mut self, count: usize) -> Result<Vec<LogLine>, Failure> {
        let mut lines = self.read(|tail| tail.last_lines(count))?;
        Ok(lines.split_off(lines.len().saturating_sub(count)))
    }

    /// What was logged since; of files that have come since, everything.
    pub(crate) fn new_lines(&mut self) -> Result<Vec<LogLine>, Failure> {
        self.read(Tail::read_new)
    }

    /// Whether there is any file.
    fn any(&self) -> bool {
        !self.tails.is_empty()
    }

    /// In the order of time; lines of one file stay in theirs.
    fn read(
        &mut self,
        read: impl Fn(&mut Tail) -> io::Result<String>,
    ) -> Result<Vec<LogLine>, Failure> {
        let folder = &self.folder;
        let levels = LEVELS.into_iter().filter(|level| self.level.is_none_or(|one| one == *level));
        let mut lines = Vec::new();
        for level in levels {
            let files = files(folder, level)
                .with_context(|| format!("cannot list the logs in `{}`", folder.display()))?;
            for (path, source) in files {
                let tail =
                    self.tails.entry(path.clone()).or_insert_with(|| Tail::new(path.clone()));
                let text =
                    read(tail).with_context(|| format!("cannot read `{}`", path.display()))?;
                lines.extend(log_lines(&source, &text));
            }
        }
        lines.sort_by_key(|line| line.sorted_by);
        Ok(lines)
    }
}

/// A level's instances log to `LEVEL-NAME.log`, each with whom it is of; files that were rotated away
/// are not listed.
fn files(folder: &Path, level: Level) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let prefix = format!("{}-", level.name());
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let instance = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".log"));
        if let Some(instance) = instance {
            let source = match level {
                // There is one, and its port says nothing more.
                Level::Queen => level.name().to_owned(),
                Level::Hive | Level::Worker => format!("{} {instance}", level.name()),
            };
            files.push((path, source));
        }
    }
    files.sort();
    Ok(files)
}
