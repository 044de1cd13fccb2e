use clap::builder::styling::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::Paint;

/// Names of instances are longer than this where a model's has a hash in it.
const SOURCE_WIDTH: usize = 14;

const SEVERITIES: [&str; 5] = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// One line of a daemon's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Of which process, as `hive localhost`.
    pub(crate) source: String,
    pub(crate) raw: String,
    /// Its own time, or that of the line that it goes on.
    pub(crate) sorted_by: Timestamp,
    head: Option<Head>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    severity: &'static str,
    message: String,
}

/// The lines of a piece of a log; what is no line of `tracing`'s, such as a panic, goes on the one
/// before it.
pub(crate) fn log_lines(source: &str, text: &str) -> Vec<LogLine> {
    let mut last = Timestamp::UNIX_EPOCH;
    let line = |raw: &str| {
        let head = head(raw);
        if let Some((at, _)) = &head {
            last = *at;
        }
        LogLine {
            source: source.to_owned(),
            raw: raw.to_owned(),
            sorted_by: last,
            head: head.map(|(_, head)| head),
        }
    };
    text.lines().map(line).collect()
}

impl LogLine {
    /// `2026-05-04 10:20:30  hive localhost  WARN   what it says`.
    pub(crate) fn human(&self, zone: &TimeZone, paint: Paint) -> String {
        let source = paint.dim(&format!("{:<SOURCE_WIDTH$}", self.source));
        let Some(Head { severity, message }) = &self.head else {
            return format!("{:19}  {source}  {:5}  {}", "", "", self.raw).trim_end().to_owned();
        };
        let time = self.sorted_by.to_zoned_datetime(zone.clone()).strftime("%F %T").to_string();
        let colour = match *severity {
            "ERROR" => AnsiColor::Red.on_default(),
            "WARN" => AnsiColor::Yellow.on_default(),
            _ => Style::new(),
        };
        let severity = paint.apply(colour, &format!("{severity:<5}"));
        format!("{}  {source}  {severity}  {message}", paint.dim(&time))
    }

    pub(crate) fn json(&self) -> String {
        let time = self.head.as_ref().map(|_| self.sorted_by.to_string());
        let severity = self.head.as_ref().map(|head| head.severity);
        let message = self.head.as_ref().map_or(&self.raw, |head| &head.message);
        json!({ "time": time, "source": self.source, "severity": severity, "message": message })
            .to_string()
    }
}

/// `TIME  SEVERITY rest`, as `tracing` writes it.
fn head(line: &str) -> Option<(Timestamp, Head)> {
    let (time, rest) = line.split_once(' ')?;
    let at: Timestamp = time.parse().ok()?;
    let (severity, rest) = rest.trim_start().split_once(' ')?;
    let severity = SEVERITIES.into_iter().find(|known| *known == severity)?;
    Some((at, Head { severity, message: narrated(rest).unwrap_or_else(|| rest.to_owned()) }))
}

/// What a narration told, which its line has between other fields.
fn narrated(rest: &str) -> Option<String> {
    let (_, fields) = rest.split_once("narration: ")?;
    let text = |name: &str| {
        let (_, quoted) = fields.split_once(&format!("{name}=\""))?;
        unquoted(quoted)
    };
    Some(format!("{}: {}", text("action")?, text("human")?))
}

/// What stands before the closing quote, of a text that Rust has escaped.
fn unquoted(quoted: &str) -> Option<String> {
    let mut plain = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some(plain),
            '\\' => match characters.next()? {
                'n' => plain.push('\n'),
                't' => plain.push('\t'),
                other => plain.push(other),
            },
            other => plain.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZone, offset};

    use super::log_lines;
    use crate::render::Paint;

    const NARRATED: &str = "2026-11-29T05:59:09.45Z  WARN job{job_id=\"0\"}: narration: actor=\"hive\" \
        action=\"model_pull\" human=\"`m` is \\\"here\\\"\" level=\"warn\" at_ms=1";

    fn human(text: &str) -> Vec<String> {
        let zone = TimeZone::fixed(offset(2));
        log_lines("hive a", text).iter().map(|line| line.human(&zone, Paint::Plain)).collect()
    }

    #[test]
    fn a_line_has_local_time_its_source_and_what_was_told() {
        let plain = "2026-11-29T23:59:09.430558Z  INFO rbee_hive: hive is ready port=1";
        assert_eq!(
            human(&format!("{plain}\n{NARRATED}\n")),
            [
                "2026-11-30 01:59:09  hive a          INFO   rbee_hive: hive is ready port=1",
                "2026-11-29 07:59:09  hive a          WARN   model_pull: `m` is \"here\"",
            ]
        );
    }

    #[test]
    fn what_is_no_line_of_the_log_goes_on_the_one_before_it() {
        let lines = log_lines("queen", &format!("{NARRATED}\nthread 'main' panicked\n"));
        assert_eq!(lines[0].sorted_by, lines[1].sorted_by);
        assert!(human("thread panicked\n")[0].ends_with("thread panicked"));
        let json: serde_json::Value = serde_json::from_str(&lines[1].json()).unwrap();
        assert_eq!(
            (&json["time"], &json["message"]),
            (&().into(), &"thread 'main' panicked".into())
        );
        let json: serde_json::Value = serde_json::from_str(&lines[0].json()).unwrap();
        assert_eq!((&json["severity"], &json["source"]), (&"WARN".into(), &"queen".into()));
    }
}
