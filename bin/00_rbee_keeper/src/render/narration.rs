use clap::builder::styling::{AnsiColor, Style};
use narration_core::{Level, Narration, human, json};
use rbee_config::NarrationMode;

/// Whether text may carry colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Ansi,
}

impl Paint {
    /// What standard error takes: colour on a terminal, unless the environment refuses it.
    pub fn of_stderr() -> Self {
        match anstream::AutoStream::choice(&std::io::stderr()) {
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
    fn json_and_off_are_never_coloured() {
        let narration = Narration::new("queen", "route", "chose a hive").level(Level::Error);
        let json = line(&narration, NarrationMode::Json, Paint::Ansi).unwrap();
        assert_eq!(serde_json::from_str::<Narration>(&json).unwrap(), narration);
        assert_eq!(line(&narration, NarrationMode::Off, Paint::Ansi), None);
    }
}
