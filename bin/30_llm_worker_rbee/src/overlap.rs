/// How many bytes at the end of `text` are the beginning of `whole`, short of all of it.
pub(crate) fn overlap(text: &str, whole: &str) -> usize {
    let longest = whole.len().saturating_sub(1).min(text.len());
    (1..=longest)
        .rev()
        .find(|&len| {
            text.as_bytes().ends_with(&whole.as_bytes()[..len])
                && text.is_char_boundary(text.len() - len)
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn the_longest_beginning_counts_and_never_within_a_character() {
        for (text, whole, count) in [
            ("a <to", "<tool>", 3),
            ("a <tool>", "<tool>", 0),
            ("aaa", "aab", 2),
            ("", "<tool>", 0),
            ("x", "", 0),
            ("\u{e9}\u{e8}", "\u{e8}\u{e9}", 2),
            // It begins with the last byte of that character.
            ("\u{e9}", "\u{a9}x", 0),
        ] {
            assert_eq!(overlap(text, whole), count, "{text} {whole}");
        }
    }
}
