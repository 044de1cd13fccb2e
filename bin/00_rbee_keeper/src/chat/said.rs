/// Each command, what it takes, and what it does.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("/help", "", "show this"),
    ("/model", "[NAME]", "show the model, or go on with another one"),
    ("/system", "[TEXT]", "show or change what the model is told first; `/system \"\"` removes it"),
    (
        "/set",
        "[KEY VALUE]",
        "show or change max_tokens, temperature, top_p, seed, stop; `off` unsets",
    ),
    ("/clear", "", "forget what was said"),
    ("/save", "[FILE]", "write the whole talk as JSON"),
    ("/bye", "", "leave; Ctrl-D does too"),
];

/// What marks the beginning and the end of several lines.
pub(super) const QUOTES: &str = "\"\"\"";

/// What a line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    /// For the model.
    Words(String),
    Help,
    Model(Option<String>),
    /// An empty text removes it.
    System(Option<String>),
    Set(Option<(String, String)>),
    Clear,
    Save(Option<String>),
    Bye,
    /// What there is to say about it.
    Wrong(String),
}

impl Said {
    /// A line that begins with `//` is for the model, with one `/` of them.
    pub(crate) fn of(line: &str) -> Self {
        let line = line.trim();
        if line.is_empty() {
            return Self::Nothing;
        }
        if let Some(words) = line.strip_prefix(QUOTES) {
            let words = words.strip_suffix(QUOTES).unwrap_or(words).trim_matches('\n');
            return if words.trim().is_empty() { Self::Nothing } else { Self::Words(words.into()) };
        }
        if !line.starts_with('/') || line.starts_with("//") {
            let words = line.strip_prefix('/').unwrap_or(line);
            return Self::Words(words.to_owned());
        }
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let given = (!rest.is_empty()).then(|| rest.to_owned());
        match command {
            "/help" | "/?" => Self::Help,
            "/model" => Self::Model(given),
            "/system" => Self::System(given.map(|text| unquoted(&text).to_owned())),
            "/set" => match rest.split_once(char::is_whitespace) {
                Some((key, value)) => Self::Set(Some((key.into(), unquoted(value.trim()).into()))),
                None if rest.is_empty() => Self::Set(None),
                None => Self::Wrong(format!("`/set {rest}` lacks a value; `/set` shows them all")),
            },
            "/clear" => Self::Clear,
            "/save" => Self::Save(given),
            "/bye" | "/exit" | "/quit" => Self::Bye,
            _ => Self::Wrong(format!(
                "there is no `{command}`; `/help` lists what there is, and `//` at the beginning of a \
                 line is a `/` for the model"
            )),
        }
    }
}

/// The text between quotes, where it stands between such.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, Said};

    #[test]
    fn every_command_of_the_list_is_understood() {
        for (command, ..) in COMMANDS {
            assert!(!matches!(Said::of(command), Said::Wrong(_) | Said::Words(_)), "{command}");
        }
    }

    #[test]
    fn lines_mean_what_they_look_like() {
        let words = |text: &str| Said::Words(text.into());
        let set = |key: &str, value: &str| Said::Set(Some((key.into(), value.into())));
        for (line, said) in [
            ("  ", Said::Nothing),
            ("hello /you", words("hello /you")),
            ("//etc/passwd is a file", words("/etc/passwd is a file")),
            ("\"\"\"two\nlines\"\"\"", words("two\nlines")),
            ("\"\"\"\n  indented\n\"\"\"", words("  indented")),
            ("\"\"\"\n\"\"\"", Said::Nothing),
            ("/model m", Said::Model(Some("m".into()))),
            ("/system \"\"", Said::System(Some(String::new()))),
            ("/system be kind", Said::System(Some("be kind".into()))),
            ("/set temperature 0.5", set("temperature", "0.5")),
            ("/set stop \"a b\"", set("stop", "a b")),
            ("/bye", Said::Bye),
        ] {
            assert_eq!(Said::of(line), said, "{line}");
        }
        for wrong in ["/set temperature", "/etc/passwd", "/hlep"] {
            assert!(matches!(Said::of(wrong), Said::Wrong(_)), "{wrong}");
        }
    }
}
