use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How long a model stays loaded after its last request.
///
/// Written as Ollama's clients do: seconds, or text such as `5m`; 0 is not at all, and anything below
/// zero for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive(pub Duration);

impl KeepAlive {
    pub const FOREVER: Self = Self(Duration::MAX);

    fn of_seconds(seconds: f64) -> Result<Self, String> {
        if seconds < 0.0 {
            return Ok(Self::FOREVER);
        }
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|error| error.to_string())
    }
}

impl FromStr for KeepAlive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            return Self::of_seconds(seconds);
        }
        match text.strip_prefix('-') {
            Some(rest) => humantime::parse_duration(rest).map(|_| Self::FOREVER),
            None => humantime::parse_duration(text).map(Self),
        }
        .map_err(|error| {
            let shown: String = text.chars().take(40).collect();
            format!("`{shown}` is neither seconds nor a duration such as `5m`, 0 or -1: {error}")
        })
    }
}

impl fmt::Display for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FOREVER => f.pad("-1"),
            Self(duration) => write!(f, "{}", humantime::format_duration(duration)),
        }
    }
}

impl Serialize for KeepAlive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::FOREVER => serializer.serialize_i64(-1),
            Self(duration) => serializer.serialize_f64(duration.as_secs_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for KeepAlive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "seconds, or text such as `5m`, are wanted")]
        enum Told {
            Seconds(f64),
            Text(String),
        }
        let read = match Told::deserialize(deserializer)? {
            Told::Seconds(seconds) => Self::of_seconds(seconds),
            Told::Text(text) => text.parse(),
        };
        read.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::KeepAlive;

    #[test]
    fn it_is_read_as_ollama_s_clients_write_it() {
        let seconds = |seconds| KeepAlive(Duration::from_secs(seconds));
        for (json, keep) in [
            ("0", seconds(0)),
            ("300", seconds(300)),
            ("1.5", KeepAlive(Duration::from_millis(1500))),
            ("-1", KeepAlive::FOREVER),
            (r#""5m""#, seconds(300)),
            (r#""1h30m""#, seconds(5400)),
            (r#""0""#, seconds(0)),
            (r#""0s""#, seconds(0)),
            (r#""-1""#, KeepAlive::FOREVER),
            (r#""-1m""#, KeepAlive::FOREVER),
        ] {
            assert_eq!(serde_json::from_str::<KeepAlive>(json).unwrap(), keep, "{json}");
            let written = serde_json::to_string(&keep).unwrap();
            assert_eq!(serde_json::from_str::<KeepAlive>(&written).unwrap(), keep, "{json}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for json in [r#""""#, r#""soon""#, r#""5 apples""#, "true", "[]", "1e300"] {
            assert!(serde_json::from_str::<KeepAlive>(json).is_err(), "{json}");
        }
    }
}
