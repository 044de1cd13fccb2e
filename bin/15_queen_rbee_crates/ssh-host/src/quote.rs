/// `text` as one word of a shell command; the login shell there may be any.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::quoted;

    #[test]
    fn a_shell_takes_every_text_as_it_is() {
        for text in ["", "a b", "it's", "$HOME `id` \\ \"x\" ;&|", "-n", "two\nlines", "*?[a]"] {
            let script = format!("printf %s {}", quoted(text));
            let said = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), text);
            // As a command travels: a script within a script.
            let script = format!("sh -c {}", quoted(&script));
            let said = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), text);
        }
    }
}
