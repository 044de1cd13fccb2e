use std::{ffi::OsStr, path::Path};

use chain_daemon::LLAMA_CPP;
use clap::builder::styling::{AnsiColor, Style};
use narration_core::{Level, Narration, Step, human, json, lines};
use rbee_config::NarrationMode;

/// What is said of the package that is most of a first build, instead of its name.
const LLAMA_CPP_TAKES: &str = "llama.cpp (3 to 5 minutes on two cores, once)";

/// Whether text may carry colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Ansi,
}

impl Paint {
    /// What standard error takes: colour on a terminal, unless the environment refuses it.
    pub fn of_stderr() -> Self {
        Self::of(anstream::AutoStream::choice(&std::io::stderr()))
    }

    pub(crate) fn of_stdout() -> Self {
        Self::of(anstream::AutoStream::choice(&std::io::stdout()))
    }

    fn of(choice: anstream::ColorChoice) -> Self {
        match choice {
            anstream::ColorChoice::Never => Self::Plain,
            _ => Self::Ansi,
        }
    }

    pub(crate) fn apply(self, style: Style, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("{style}{text}{style:#}"),
        }
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.apply(AnsiColor::Red.on_default(), text)
    }

    pub(crate) fn doubtful(self, text: &str) -> String {
        self.apply(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.apply(Style::new().dimmed(), text)
    }
}

/// The line for a narration; `None` when the mode shows none.
pub(crate) fn narration_line(
    narration: &Narration,
    mode: NarrationMode,
    paint: Paint,
) -> Option<String> {
    let plain = match narration.level {
        Level::Progress => why_it_takes_long(&human(narration)),
        _ => human(narration),
    };
    match mode {
        NarrationMode::Off => None,
        NarrationMode::Json => Some(json(narration)),
        // What is compiled is told by the progress, and there are hundreds.
        NarrationMode::Human
            if narration.level == Level::Verbatim && lines::is_of_a_dependency(&plain) =>
        {
            None
        }
        NarrationMode::Human => Some(match narration.level {
            Level::Verbatim => plain,
            Level::Warn => paint.doubtful(&plain),
            Level::Error => paint.bad(&plain),
            Level::Info | Level::Progress => match plain.split_once(": ") {
                Some((who, what)) => format!("{} {what}", paint.dim(&format!("{who}:"))),
                None => plain,
            },
        }),
    }
}

/// How far a build is, in one short line that is drawn over and over.
pub(crate) fn status_line(narration: &Narration, step: Option<Step>) -> String {
    let told = why_it_takes_long(&narration.human);
    match step {
        Some(step) => format!("step {}: {told}", step.count()),
        None => told,
    }
}

/// The step of the first run that it belongs to.
pub(crate) fn step_of(narration: &Narration) -> Option<Step> {
    let target = narration.target.as_deref()?;
    match narration.action.as_str() {
        "auto_rebuild" => Step::building(target),
        "spawn" => {
            let is_worker = Path::new(target).file_name() == Step::Worker.binary().map(OsStr::new);
            is_worker.then_some(Step::Model)
        }
        _ => None,
    }
}

/// With llama.cpp by its name, the target of which cargo compiles (`llama-cpp-sys-2(build)`) left out.
fn why_it_takes_long(text: &str) -> String {
    let Some((before, after)) = text.split_once(LLAMA_CPP) else { return text.to_owned() };
    let after = match after.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_target, rest)) => rest,
        None => after,
    };
    format!("{before}{LLAMA_CPP_TAKES}{after}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use narration_core::{Level, Narration, Step, lines};
    use rbee_config::NarrationMode;

    use super::{Paint, narration_line};

    fn line(narration: &Narration, mode: NarrationMode, paint: Paint) -> Option<String> {
        narration_line(narration, mode, paint)
    }

    #[test]
    fn without_colour_the_line_is_the_contract() {
        let narration = narration_core::lines::up_to_date("queen-rbee");
        let line = line(&narration, NarrationMode::Human, Paint::Plain);
        assert_eq!(line, Some(narration_core::human(&narration)));
    }

    #[test]
    fn colour_adds_nothing_that_can_be_read() {
        for level in [Level::Info, Level::Warn, Level::Error, Level::Verbatim] {
            let narration = Narration::new("queen", "route", "chose: a hive").level(level);
            let line = line(&narration, NarrationMode::Human, Paint::Ansi).unwrap();
            let stripped = anstream::adapter::strip_str(&line).to_string();
            assert_eq!(stripped, narration_core::human(&narration));
        }
    }

    #[test]
    fn what_takes_long_says_why() {
        let told = |now| lines::compiling("llamacpp-worker", 3, 9, now, Duration::from_secs(70));
        let said = |now| line(&told(now), NarrationMode::Human, Paint::Plain).unwrap();
        assert_eq!(
            said("llama-cpp-sys-2(build), serde"),
            "[dmn-life] build_progress: Compiling 'llamacpp-worker': 3 of 9 (1 min 10 s), \
             llama.cpp (3 to 5 minutes on two cores, once), serde"
        );
        assert!(!said("serde").contains("llama.cpp"));
        let drawn = |now, step| super::status_line(&told(now), step);
        assert_eq!(
            drawn("llama-cpp-sys-2(build)", Some(Step::Worker)),
            "step 5 of 6: Compiling 'llamacpp-worker': 3 of 9 (1 min 10 s), \
             llama.cpp (3 to 5 minutes on two cores, once)"
        );
        assert_eq!(drawn("", None), "Compiling 'llamacpp-worker': 3 of 9 (1 min 10 s)");
    }

    #[test]
    fn what_dependencies_are_compiled_is_not_a_line_each() {
        let said = |text, mode| line(&Narration::verbatim("dmn-life", text), mode, Paint::Plain);
        assert_eq!(said("   Compiling serde v1.0.228", NarrationMode::Human), None);
        assert!(said("   Compiling serde v1.0.228", NarrationMode::Json).is_some());
        let own = "   Compiling queen-rbee v0.1.0 (/tree/bin/10_queen_rbee)";
        assert_eq!(said(own, NarrationMode::Human).as_deref(), Some(own));
    }

    #[test]
    fn the_steps_of_the_first_run_begin_with_builds_and_with_the_workers_start() {
        let of = |narration| super::step_of(&narration);
        assert_eq!(of(lines::rebuilding("queen-rbee")), Some(Step::Queen));
        assert_eq!(of(lines::rebuilding("llamacpp-worker")), Some(Step::Worker));
        assert_eq!(of(lines::rebuilding("another")), None);
        assert_eq!(of(lines::checking("queen-rbee")), None);
        assert_eq!(of(lines::spawning("target/debug/queen-rbee", &[])), None);
        assert_eq!(of(lines::spawning("target/debug/llamacpp-worker", &[])), Some(Step::Model));
    }

    #[test]
    fn json_and_off_are_never_coloured() {
        let narration = Narration::new("queen", "route", "chose a hive").level(Level::Error);
        let json = line(&narration, NarrationMode::Json, Paint::Ansi).unwrap();
        assert_eq!(serde_json::from_str::<Narration>(&json).unwrap(), narration);
        assert_eq!(line(&narration, NarrationMode::Off, Paint::Ansi), None);
    }
}
