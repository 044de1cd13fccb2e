//! What requests to a model have where they say nothing of it, as values of the configuration.

use toml::de::DeValue;

use crate::setting::{Setting, integer};

/// As many as one request may have.
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1024;

const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// A number with bounds, which are in hundredths; `None` where nothing is set.
pub(crate) struct Number<const LOW: u32, const HIGH: u32>(pub(crate) Option<f64>);

impl<const LOW: u32, const HIGH: u32> Number<LOW, HIGH> {
    fn of(number: f64) -> Option<Self> {
        let bounds = f64::from(LOW) / 100.0..=f64::from(HIGH) / 100.0;
        bounds.contains(&number).then_some(Self(Some(number)))
    }
}

impl<const LOW: u32, const HIGH: u32> Setting for Number<LOW, HIGH> {
    fn expected() -> String {
        format!("a number from {} to {}", f64::from(LOW) / 100.0, f64::from(HIGH) / 100.0)
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::of(text.parse().ok()?)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::Float(number) => Self::from_text(number.as_str()),
            // Beyond 32 bits it is out of every bounds.
            _ => Self::of(f64::from(integer::<u32>(value)?)),
        }
    }

    fn show(&self) -> String {
        self.0.map(|number| number.to_string()).unwrap_or_default()
    }
}

/// A number of things, of which there may be none; `None` where nothing is set.
pub(crate) struct Count(pub(crate) Option<u32>);

impl Setting for Count {
    fn expected() -> String {
        "a whole number from 0".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(|number| Self(Some(number)))
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        integer(value).map(|number| Self(Some(number)))
    }

    fn show(&self) -> String {
        self.0.map(|number| number.to_string()).unwrap_or_default()
    }
}

/// Texts that end an answer.
#[derive(Default)]
pub(crate) struct Stops(pub(crate) Vec<String>);

impl Stops {
    fn of(texts: Vec<String>) -> Option<Self> {
        let is_stop = |text: &String| (1..=STOP_BYTES_MAX).contains(&text.len());
        (texts.len() <= STOPS_MAX && texts.iter().all(is_stop)).then_some(Self(texts))
    }
}

impl Setting for Stops {
    fn expected() -> String {
        format!(
            "a text or a list of at most {STOPS_MAX} texts, each of at most {STOP_BYTES_MAX} bytes"
        )
    }

    fn from_text(text: &str) -> Option<Self> {
        Self::of(vec![text.to_owned()])
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str() {
            Some(text) => Self::from_text(text),
            None => Vec::from_toml(value).and_then(Self::of),
        }
    }

    fn show(&self) -> String {
        let texts = self.0.iter().map(|text| format!("{text:?}"));
        texts.collect::<Vec<_>>().join(", ")
    }
}

/// Where guesses come from of what an answer says next; several tokens are then chosen at a time, the
/// same ones as otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speculative {
    /// Runs of tokens in the prompt and in the answer so far.
    Ngram,
    Off,
}

impl Speculative {
    const ALL: [Self; 2] = [Self::Ngram, Self::Off];

    /// Its name in the configuration, and as a worker's flag.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ngram => "ngram",
            Self::Off => "off",
        }
    }

    fn names() -> String {
        Self::ALL.map(|one| format!("`{}`", one.name())).join(" or ")
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Where guesses come from; `None` where nothing is set.
pub(crate) struct Guesses(pub(crate) Option<Speculative>);

impl Setting for Guesses {
    fn expected() -> String {
        Speculative::names()
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(Self(Some(Speculative::of(text)?)))
    }

    fn show(&self) -> String {
        self.0.map_or_else(String::new, |guesses| guesses.name().to_owned())
    }
}

/// How much a model is to think; `None` where nothing is set.
pub(crate) struct Effort(pub(crate) Option<String>);

impl Setting for Effort {
    fn expected() -> String {
        let names = EFFORTS.map(|name| format!("`{name}`"));
        format!("one of {}", names.join(", "))
    }

    fn from_text(text: &str) -> Option<Self> {
        EFFORTS.contains(&text).then(|| Self(Some(text.to_owned())))
    }

    fn show(&self) -> String {
        self.0.clone().unwrap_or_default()
    }
}
