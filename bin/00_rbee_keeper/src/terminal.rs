use std::{
    collections::HashMap,
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use narration_core::{Level, Narration, Step};
use rbee_api::Progress;
use rbee_config::{NarrationMode, for_here};
use tokio::sync::mpsc;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    failure::{Failure, Kind},
    render::{
        Paint, ProgressSteps, bar_style, narration_line, progress_json, status_line, step_of,
    },
};

/// Between two lines about one build, where none can be drawn over the one before.
const STATUS_INTERVAL: Duration = Duration::from_secs(30);

const SPIN_INTERVAL: Duration = Duration::from_millis(120);

/// What no download and no build is called.
const WAITING: &str = "";

/// Standard output and standard error: data to the one, everything else to the other.
///
/// All writing goes through here, so that lines, bars and tokens never garble one another.
#[derive(Debug)]
pub(crate) struct Terminal {
    narration: NarrationMode,
    paint: Paint,
    /// Both are the same screen, on which a line has to begin where tokens stopped.
    shared_screen: bool,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Standard output stands after text that no line break has ended.
    mid_line: bool,
    bars: HashMap<String, ProgressBar>,
    steps: ProgressSteps,
    /// When a line was printed about a target, where none can be drawn, and how far it was.
    statuses: HashMap<String, (Instant, Option<u64>)>,
    listener: Option<Listener>,
    /// How far the first run is, where it is one.
    first_run: Option<FirstRun>,
}

#[derive(Debug, Default)]
struct FirstRun {
    step: Option<Step>,
}

#[derive(Debug)]
struct Listener {
    narrations: mpsc::Sender<Narration>,
    /// The screen belongs to the listener.
    takes_all: bool,
}

/// Narrations are given to a listener for as long as this lives.
#[derive(Debug)]
pub(crate) struct Listening<'a>(&'a Terminal);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.state().listener = None;
    }
}

impl Terminal {
    pub(crate) fn new(narration: NarrationMode) -> Self {
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            narration,
            paint: Paint::of_stderr(),
            shared_screen: stdout && stderr,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            state: Mutex::default(),
        }
    }

    /// Writes data to standard output, at once.
    pub(crate) fn out(&self, text: &str) -> Result<(), Failure> {
        let mut state = self.state();
        state.end_bars();
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(
            |error| match error.kind() {
                io::ErrorKind::BrokenPipe => Failure::said(Kind::Closed),
                _ => Failure::from(anyhow!(error).context("cannot write to standard output")),
            },
        )?;
        state.mid_line = match text.chars().next_back() {
            Some(last) => last != '\n',
            None => state.mid_line,
        };
        Ok(())
    }

    /// Ends the line that [`Self::out`] left open, if it did.
    pub(crate) fn end_line(&self) -> Result<(), Failure> {
        let open = self.state().mid_line;
        if open { self.out("\n") } else { Ok(()) }
    }

    /// A line of standard error, whatever the narration mode.
    pub(crate) fn say(&self, line: &str) {
        self.write_error(&format!("{}\n", for_here(line)));
    }

    /// Gives narrations to `narrations` too; with `takes_all`, to it alone, and every other line
    /// of standard error as well. What it has no room for is dropped.
    pub(crate) fn listen(
        &self,
        narrations: mpsc::Sender<Narration>,
        takes_all: bool,
    ) -> Listening<'_> {
        self.state().listener = Some(Listener { narrations, takes_all });
        Listening(self)
    }

    /// From now on the steps of the first run are told as they begin.
    pub(crate) fn tell_steps(&self) {
        self.state().first_run = Some(FirstRun::default());
    }

    pub(crate) fn narrate(&self, narration: &Narration) {
        if let Some(listener) = &self.state().listener {
            listener.narrations.try_send(narration.clone()).ok();
            if listener.takes_all {
                return;
            }
        }
        let step = self.state().begin_step(narration);
        if let Some(step) = step.filter(|_| self.narration == NarrationMode::Human) {
            self.say(&step.line());
        }
        if let Some(target) = &narration.target
            && self.narration == NarrationMode::Human
        {
            if narration.level == Level::Progress {
                return self.draw_status(target, narration);
            }
            self.state().end_bar(target);
        }
        if let Some(line) = narration_line(narration, self.narration, self.paint) {
            self.say(&line);
        }
    }

    /// Draws a bar for each target; where nothing can be drawn, a line for each tenth of the way.
    pub(crate) fn progress(&self, progress: &Progress) {
        match self.narration {
            NarrationMode::Off => {}
            NarrationMode::Human if !self.bars.is_hidden() && !self.is_taken() => {
                self.draw(progress);
            }
            NarrationMode::Human => self.say_step(progress, |line| line),
            NarrationMode::Json => self.say_step(progress, |_| progress_json(progress)),
        }
    }

    /// Shows that something is awaited, until there is something else to show.
    pub(crate) fn wait(&self) {
        if self.narration != NarrationMode::Human || self.bars.is_hidden() || self.is_taken() {
            return;
        }
        let style = ProgressStyle::with_template("{spinner} {elapsed}");
        let bar = ProgressBar::new_spinner().with_style(style.expect("the template is valid"));
        let bar = self.bars.add(bar);
        bar.enable_steady_tick(SPIN_INTERVAL);
        self.state().bars.insert(WAITING.to_owned(), bar);
    }

    /// Removes the bars.
    pub(crate) fn end_progress(&self) {
        self.state().end_bars();
    }

    /// How text on standard error may be coloured.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    fn draw(&self, progress: &Progress) {
        let mut state = self.state();
        if self.shared_screen && state.mid_line {
            // A bar has a line of its own, and this one belongs to the answer.
            return;
        }
        let bar = state.bars.entry(progress.target.clone()).or_insert_with(|| {
            // Complete before it is drawn for the first time.
            let hidden = ProgressDrawTarget::hidden();
            let bar = ProgressBar::with_draw_target(progress.total_bytes, hidden)
                .with_style(bar_style(progress))
                .with_message(progress.target.clone());
            self.bars.add(bar)
        });
        if let Some(total) = progress.total_bytes {
            bar.set_length(total);
        }
        bar.set_position(progress.done_bytes);
        if progress.total_bytes == Some(progress.done_bytes) {
            bar.finish_and_clear();
            state.bars.remove(&progress.target);
        }
    }

    /// One line that the next one about the same target takes the place of; where nothing can be
    /// drawn, a line now and then.
    fn draw_status(&self, target: &str, narration: &Narration) {
        let Some(line) = narration_line(narration, self.narration, self.paint) else { return };
        let mut state = self.state();
        let step = state.first_run.as_ref().and_then(|run| run.step);
        if self.bars.is_hidden() {
            let last = state.statuses.get(target);
            let begun = last.is_none_or(|last| last.1 > narration.duration_ms);
            let is_due = last.is_some_and(|last| last.0.elapsed() >= STATUS_INTERVAL);
            if begun || is_due {
                let now = (Instant::now(), narration.duration_ms);
                state.statuses.insert(target.to_owned(), now);
            }
            drop(state);
            return if is_due {
                self.say(&line);
            };
        }
        if self.shared_screen && state.mid_line {
            return;
        }
        let bar = state.bars.entry(target.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            let bar = ProgressBar::new_spinner().with_style(style.expect("the template is valid"));
            self.bars.add(bar)
        });
        bar.set_message(status_line(narration, step));
        bar.tick();
    }

    fn say_step(&self, progress: &Progress, text: impl FnOnce(String) -> String) {
        let line = self.state().steps.line(progress);
        if let Some(line) = line {
            self.say(&text(line));
        }
    }

    /// Whether the screen belongs to a listener.
    fn is_taken(&self) -> bool {
        self.state().listener.as_ref().is_some_and(|listener| listener.takes_all)
    }

    fn write_error(&self, text: &str) {
        let mut state = self.state();
        if let Some(listener) = state.listener.as_ref().filter(|listener| listener.takes_all) {
            for line in text.lines() {
                listener.narrations.try_send(Narration::verbatim("keeper", line)).ok();
            }
            return;
        }
        let break_first = self.shared_screen && state.mid_line;
        self.bars.suspend(|| {
            let mut stderr = io::stderr().lock();
            let text = if break_first { format!("\n{text}") } else { text.to_owned() };
            // Nobody is left to be told when standard error is gone.
            stderr.write_all(text.as_bytes()).ok();
        });
        state.mid_line &= !break_first;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The step of the first run that `narration` begins.
    fn begin_step(&mut self, narration: &Narration) -> Option<Step> {
        let run = self.first_run.as_mut()?;
        let step = step_of(narration)?;
        let is_next = run.step.is_none_or(|last| last < step);
        is_next.then(|| *run.step.insert(step))
    }

    fn end_bar(&mut self, target: &str) {
        self.statuses.remove(target);
        if let Some(bar) = self.bars.remove(target) {
            bar.finish_and_clear();
        }
    }

    fn end_bars(&mut self) {
        for (_, bar) in self.bars.drain() {
            bar.finish_and_clear();
        }
    }
}

/// Gives `tracing` the same way to standard error.
#[derive(Debug, Clone)]
pub(crate) struct LogWriter(pub(crate) Arc<Terminal>);

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write_error(&String::from_utf8_lossy(buffer));
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use narration_core::lines;

    use super::*;

    #[test]
    fn each_step_of_the_first_run_begins_once_and_none_of_a_later_run() {
        let terminal = Terminal::new(NarrationMode::Human);
        let begins = |narration: &Narration| terminal.state().begin_step(narration);
        let queen = lines::rebuilding("queen-rbee");
        assert_eq!(begins(&queen), None);
        terminal.tell_steps();
        assert_eq!(begins(&queen), Some(Step::Queen));
        assert_eq!(begins(&lines::rebuilt("queen-rbee")), None);
        assert_eq!(begins(&lines::rebuilding("llamacpp-worker")), Some(Step::Worker));
        assert_eq!(begins(&lines::rebuilding("rbee-hive")), None);
        // The line comes from the one place that writes, which nobody may hold meanwhile.
        terminal.narrate(&lines::spawning("target/debug/llamacpp-worker", &[]));
        assert_eq!(terminal.state().first_run.as_ref().unwrap().step, Some(Step::Model));
    }
}
