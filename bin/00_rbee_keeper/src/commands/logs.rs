use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    app::App,
    cli::{Level, LogsArgs},
    failure::Failure,
    tail::Tail,
};

/// How often a followed file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) async fn run(app: &App, args: LogsArgs) -> Result<(), Failure> {
    let mut logs = Logs { app, args, tails: BTreeMap::new(), shown: None };
    let found = logs.look(true)?;
    if !found && !logs.args.follow {
        let level = logs.args.level.name();
        return Err(Failure::failed(format_args!("the {level} has logged nothing yet"))
            .hint("`./rbee status` shows what runs"));
    }
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while logs.args.follow {
        ticks.tick().await;
        logs.look(false)?;
    }
    Ok(())
}

/// The log files of one level, as far as they have been shown.
struct Logs<'a> {
    app: &'a App,
    args: LogsArgs,
    tails: BTreeMap<PathBuf, Tail>,
    /// The file that the last text was of.
    shown: Option<PathBuf>,
}

impl Logs<'_> {
    /// Shows what is new, and says whether there is any file at all. Of the files that are there
    /// at first only the last lines are new; of those that come later, everything.
    fn look(&mut self, first: bool) -> Result<bool, Failure> {
        let folder = &self.app.config.paths.logs;
        let files = files(folder, self.args.level)
            .with_context(|| format!("cannot list the logs in `{}`", folder.display()))?;
        let several = files.len() > 1;
        let any = !files.is_empty();
        for path in files {
            let tail = self.tails.entry(path.clone()).or_insert_with(|| Tail::new(path.clone()));
            let text = if first { tail.last_lines(self.args.lines) } else { tail.read_new() };
            let text = text.with_context(|| format!("cannot read `{}`", path.display()))?;
            if text.is_empty() {
                continue;
            }
            if several && self.shown.as_ref() != Some(&path) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                self.app.terminal.end_line()?;
                self.app.terminal.say(&format!("==> {name} <=="));
            }
            self.shown = Some(path);
            self.app.terminal.out(&text)?;
        }
        Ok(any)
    }
}

/// A level's instances log to `LEVEL-NAME.log`; files that were rotated away are not listed.
fn files(folder: &Path, level: Level) -> io::Result<Vec<PathBuf>> {
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
        if name.starts_with(&prefix) && name.ends_with(".log") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
