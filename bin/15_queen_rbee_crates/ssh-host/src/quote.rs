/// `text` as one word of a script for `sh`.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The command that has `sh` run `script`, whatever login shell reads it: fish and csh take other things
/// within quotes for their own than `sh` does, so none of those is in it.
pub(crate) fn command(script: &str) -> String {
    let mut format = String::with_capacity(script.len());
    for c in script.chars() {
        match c {
            '%' => format.push_str("%%"),
            '\\' => format.push_str(r"\134"),
            '\'' => format.push_str(r"\047"),
            '!' => format.push_str(r"\041"),
            '\n' => format.push_str(r"\012"),
            c => format.push(c),
        }
    }
    format!("sh -c 'eval \"$(printf \"$1\")\"' sh '{format}'")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{command, quoted};

    const TEXTS: [&str; 11] = [
        "",
        "a b",
        "it's",
        "$HOME `id` \\ \"x\" ;&|",
        "-n",
        "two\nlines",
        "*?[a]{b,c}~",
        "bang! !x ^a",
        "\\\\back\\slash\\n\\",
        "100 % %s %d",
        "\\'\u{e9}",
    ];

    fn said(shell: &str, command: &str) -> Option<String> {
        let said = Command::new(shell).args(["-c", command]).output().ok()?;
        assert!(said.status.success(), "{shell} {command}: {said:?}");
        Some(String::from_utf8(said.stdout).unwrap())
    }

    #[test]
    fn sh_takes_every_text_as_it_is() {
        for text in TEXTS {
            let script = format!("printf %s {}", quoted(text));
            assert_eq!(said("sh", &script).unwrap(), text);
        }
    }

    #[test]
    fn whichever_login_shell_reads_it_sh_is_given_the_script() {
        // Where they are: what they would trip over is looked for below.
        for shell in ["sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh"] {
            for text in TEXTS {
                let script = format!("printf %s {}", quoted(text));
                let said = said(shell, &command(&script));
                assert!(said.is_none_or(|said| said == text), "{shell} {text}");
            }
        }
    }

    #[test]
    fn nothing_in_a_command_means_anything_to_a_login_shell_within_quotes() {
        for text in TEXTS {
            let command = command(text);
            assert_eq!(command.matches('\'').count(), 4, "{command}");
            assert!(!command.contains(['\n', '!']), "{command}");
            let mut escapes = command.split('\\').skip(1);
            assert!(escapes.all(|rest| rest.starts_with(['0', '1'])), "{command}");
        }
    }

    #[test]
    fn a_script_has_the_input_and_the_end_that_it_would_have() {
        let script = command("cat; exit 7");
        let output = Command::new("sh").args(["-c", &format!("echo in | {script}")]).output();
        let output = output.unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"in\n"[..]));
    }
}
