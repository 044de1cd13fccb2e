use clap::builder::styling::{AnsiColor, Style};
use narration_core::{Level, Narration, human, json};
use rbee_config::NarrationMode;

/// The package that is most of a first build, and what to say of it.
const LLAMA_CPP: &str = "llama-cpp-sys-2";
const LLAMA_CPP_TAKES: &str = " (llama.cpp: 3 to 5 minutes on two cores, once)";

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
    let plain = human(narration);
    match mode {
        NarrationMode::Off => None,
        NarrationMode::Json => Some(json(narration)),
        NarrationMode::Human => Some(match narration.level {
            Level::Verbatim => plain,
            Level::Warn => paint.doubtful(&plain),
            Level::Error => paint.bad(&plain),
            Level::Progress if plain.contains(LLAMA_CPP) => format!("{plain}{LLAMA_CPP_TAKES}"),
            Level::Info | Level::Progress => match plain.split_once(": ") {
                Some((who, what)) => format!("{} {what}", paint.dim(&format!("{who}:"))),
                None => plain,
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use narration_core::{Level, Narration};
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
        let took = std::time::Duration::from_secs(7);
        let told = |now| narration_core::lines::compiling("llamacpp-worker", 3, 9, now, took);
        let said = |now| line(&told(now), NarrationMode::Human, Paint::Plain).unwrap();
        assert!(said("llama-cpp-sys-2").ends_with("once)"), "{}", said("llama-cpp-sys-2"));
        assert!(!said("serde").contains("llama.cpp"));
    }

    #[test]
    fn json_and_off_are_never_coloured() {
        let narration = Narration::new("queen", "route", "chose a hive").level(Level::Error);
        let json = line(&narration, NarrationMode::Json, Paint::Ansi).unwrap();
        assert_eq!(serde_json::from_str::<Narration>(&json).unwrap(), narration);
        assert_eq!(line(&narration, NarrationMode::Off, Paint::Ansi), None);
    }
}
