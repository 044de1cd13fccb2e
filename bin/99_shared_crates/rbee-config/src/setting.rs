use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use toml::de::DeValue;

/// A type that a configured value may have.
pub(crate) trait Setting: Sized {
    /// Completes "must be ...".
    fn expected() -> String;
    /// As a flag or an environment variable writes it.
    fn from_text(text: &str) -> Option<Self>;
    /// As the file writes it; strict about TOML's types.
    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Self::from_text(value.as_str()?)
    }
    /// As `./rbee config` shows it.
    fn show(&self) -> String;
}

/// How narrations are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NarrationMode {
    /// `[actor] action: sentence`.
    Human,
    /// One JSON object on each line.
    Json,
    Off,
}

/// What happens when a stale binary cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBuildFailure {
    /// Nothing stale is started; what serves goes on serving.
    Refuse,
    /// The last binary that was built is used, and it is said.
    LastGood,
}

/// What a queen keeps of jobs on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryMode {
    /// Of jobs that were begun by name, until they have ended what was asked for, and then the answer; of
    /// other requests that they were.
    Answers,
    /// That they were: no text of a prompt, and none of an answer.
    Names,
    Nothing,
}

/// Who needs no key at the queen's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalUse {
    /// The user whom the chain runs as.
    SameUser,
    /// Nobody: everybody needs a key.
    Key,
    /// Every user of this machine.
    Open,
}

/// An enum of named choices; also readable and printable outside this crate, for flags.
macro_rules! choice {
    ($type:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            pub const NAMES: &[&str] = &[$($name),+];
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }
        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(format!("must be {}", Self::expected())),
                }
            }
        }
        impl Setting for $type {
            fn expected() -> String {
                let names = Self::NAMES.iter().map(|name| format!("`{name}`"));
                format!("one of {}", names.collect::<Vec<_>>().join(", "))
            }
            fn from_text(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    };
}

choice!(NarrationMode { Human => "human", Json => "json", Off => "off" });
choice!(HistoryMode { Answers => "answers", Names => "names", Nothing => "nothing" });
choice!(LocalUse { SameUser => "same-user", Key => "key", Open => "open" });
choice!(OnBuildFailure { Refuse => "refuse", LastGood => "last-good" });

impl Setting for bool {
    fn expected() -> String {
        "`true` or `false`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A TCP port; 0 lets the system choose one.
impl Setting for u16 {
    fn expected() -> String {
        "a port from 0 to 65535".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        integer(value)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number of things, of which there is at least one.
impl Setting for u32 {
    fn expected() -> String {
        "a whole number from 1".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|&number| number > 0)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        integer(value).filter(|&number: &Self| number > 0)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number, or `auto` where the user of the value chooses it.
impl Setting for Option<u32> {
    fn expected() -> String {
        "a whole number from 1, or `auto`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "auto" { Some(None) } else { u32::from_text(text).map(Some) }
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        if value.as_str() == Some("auto") { Some(None) } else { u32::from_toml(value).map(Some) }
    }

    fn show(&self) -> String {
        self.map_or_else(|| "auto".into(), |number| number.to_string())
    }
}

impl Setting for Duration {
    fn expected() -> String {
        "a duration such as \"30s\", \"5m\" or \"1h 30m\"".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// How long something stays, perhaps for ever; `None` where another value decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay(pub(crate) Option<Duration>);

impl Setting for Stay {
    fn expected() -> String {
        "a duration such as \"30s\" or \"1h\", a number of seconds, or \"forever\"".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "forever" {
            return Some(Self(Some(Duration::MAX)));
        }
        Duration::from_text(text).map(|duration| Self(Some(duration)))
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        match value.as_integer() {
            Some(number) if number.as_str() == "-1" => Some(Self(Some(Duration::MAX))),
            Some(_) => integer(value).map(|seconds| Self(Some(Duration::from_secs(seconds)))),
            None => Self::from_text(value.as_str()?),
        }
    }

    fn show(&self) -> String {
        match self.0 {
            Some(Duration::MAX) => "forever".into(),
            Some(duration) => duration.show(),
            None => "as `worker.idle_timeout`".into(),
        }
    }
}

/// Text that is not empty.
impl Setting for String {
    fn expected() -> String {
        "text".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// Text, or `none`.
impl Setting for Option<String> {
    fn expected() -> String {
        "text, or `none`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "none" { Some(None) } else { String::from_text(text).map(Some) }
    }

    fn show(&self) -> String {
        self.clone().unwrap_or_else(|| "none".into())
    }
}

/// Texts, such as the arguments of a program.
impl Setting for Vec<String> {
    fn expected() -> String {
        "a list of texts, such as [\"--flag\", \"value\"]".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let texts = text.split_whitespace().map(str::to_owned);
        Some(if text == "none" { Self::new() } else { texts.collect() })
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        let texts = value.as_array()?.iter();
        texts.map(|text| text.get_ref().as_str().map(str::to_owned)).collect()
    }

    fn show(&self) -> String {
        if self.is_empty() { "none".into() } else { self.join(" ") }
    }
}

/// Variables of a program, each as `NAME=VALUE`; a value may be a secret.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(pub(crate) Vec<String>);

impl Variables {
    fn of(texts: Vec<String>) -> Option<Self> {
        let is_variable = |text: &String| text.find('=').is_some_and(|at| at > 0);
        texts.iter().all(is_variable).then_some(Self(texts))
    }
}

impl Setting for Variables {
    fn expected() -> String {
        "a list of variables, such as [\"NAME=value\"]".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        Vec::from_text(text).and_then(Self::of)
    }

    fn from_toml(value: &DeValue<'_>) -> Option<Self> {
        Vec::from_toml(value).and_then(Self::of)
    }

    fn show(&self) -> String {
        let names = self.0.iter().filter_map(|pair| pair.split('=').next());
        names.collect::<Vec<_>>().join(" ")
    }
}

/// Where a queen answers on this machine: `http://127.0.0.1:8500`, without a slash at its end.
///
/// Another host is refused, because the token would travel to it in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueenUrl(String);

impl QueenUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for QueenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for QueenUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = text.strip_suffix('/').unwrap_or(text);
        let local = url.strip_prefix("http://").is_some_and(|authority| {
            match authority.strip_prefix("localhost:") {
                Some(port) => port.parse::<u16>().is_ok(),
                None => authority.parse().is_ok_and(|at: SocketAddr| at.ip().is_loopback()),
            }
        });
        if local {
            Ok(Self(url.to_owned()))
        } else {
            Err(format!("must be {}", Option::<Self>::expected()))
        }
    }
}

impl Setting for Option<QueenUrl> {
    fn expected() -> String {
        "the address of a queen on this machine, such as `http://127.0.0.1:8500`, or `none`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        if text == "none" { Some(None) } else { text.parse().ok().map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".into(), ToString::to_string)
    }
}

/// The name of one of cargo's profiles.
///
/// Cargo's own pattern: it becomes an argument of cargo and part of a path.
pub(crate) struct ProfileName(pub(crate) String);

impl Setting for ProfileName {
    fn expected() -> String {
        "the name of a cargo profile, such as \"dev\" or \"release\"".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let valid =
            text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed);
        valid.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The beginning of URLs, without a slash at its end.
pub(crate) struct BaseUrl(pub(crate) String);

impl Setting for BaseUrl {
    fn expected() -> String {
        "a URL that begins with `https://` or `http://`".into()
    }

    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let valid =
            !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control());
        valid.then(|| Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

pub(crate) fn integer<T: TryFrom<u64>>(value: &DeValue<'_>) -> Option<T> {
    let number = value.as_integer()?;
    T::try_from(u64::from_str_radix(number.as_str(), number.radix()).ok()?).ok()
}
