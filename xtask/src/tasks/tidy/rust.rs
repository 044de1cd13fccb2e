//! As much of Rust as the rules need: words, marks and texts, without comments and unit tests.

/// A piece of a source file, with its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    /// Of a text what stands between its quotes.
    pub(super) text: &'a str,
    pub(super) line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Text,
    /// One character, but `::` is one mark.
    Mark,
}

/// The tokens of `source` outside of `#[cfg(test)] mod`.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    without_tests(Lexer { source, at: 0, line: 1 }.collect())
}

fn without_tests(mut tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    const TESTS: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let begins = |window: &[Token<'_>]| window.iter().map(|token| token.text).eq(TESTS);
    while let Some(begin) = tokens.windows(TESTS.len()).position(begins) {
        let mut depth = 0_usize;
        let end = tokens[begin..].iter().position(|token| {
            match (token.kind, token.text) {
                (Kind::Mark, "{") => depth += 1,
                (Kind::Mark, "}") => depth -= 1,
                (Kind::Mark, ";") => return depth == 0,
                _ => return false,
            }
            depth == 0
        });
        let end = end.map_or(tokens.len(), |end| begin + end + 1);
        tokens.drain(begin..end);
    }
    tokens
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = &self.source[self.at..];
            let first = rest.chars().next()?;
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if rest.starts_with("//") {
                self.skip(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.skip(rest.find("*/").map_or(rest.len(), |end| end + 2));
            } else if let Some((before, hashes)) = raw_text(rest) {
                let end = format!("\"{}", &"#".repeat(hashes));
                let text = &rest[before..];
                let length = text.find(&end).unwrap_or(text.len());
                return Some(self.take(Kind::Text, before, length, end.len()));
            } else if let Some(before) = text(rest) {
                let length = end_of_text(&rest[before..], '"');
                return Some(self.take(Kind::Text, before, length, 1));
            } else if first == '\'' {
                match character(rest) {
                    Some(length) => self.skip(length),
                    // A lifetime, whose name is a word.
                    None => self.skip(1),
                }
            } else if is_of_word(first) {
                let length = rest.find(|next| !is_of_word(next)).unwrap_or(rest.len());
                return Some(self.take(Kind::Word, 0, length, 0));
            } else {
                let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
                return Some(self.take(Kind::Mark, 0, length, 0));
            }
        }
    }
}

impl<'a> Lexer<'a> {
    fn skip(&mut self, length: usize) {
        let end = (self.at + length).min(self.source.len());
        self.line += self.source[self.at..end].matches('\n').count();
        self.at = end;
    }

    fn take(&mut self, kind: Kind, before: usize, length: usize, behind: usize) -> Token<'a> {
        let (begin, line) = (self.at + before, self.line);
        self.skip(before + length + behind);
        Token { kind, text: &self.source[begin..begin + length], line }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a raw text begins behind its quote, and how many `#` it has.
fn raw_text(rest: &str) -> Option<(usize, usize)> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#']))
    })?;
    let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    let begin = prefix.len() + hashes;
    // `r#type` is a word.
    rest[begin..].starts_with('"').then_some((begin + 1, hashes))
}

/// Where a text begins behind its quote.
fn text(rest: &str) -> Option<usize> {
    ["\"", "b\"", "c\""].into_iter().find(|begin| rest.starts_with(begin)).map(str::len)
}

/// The length of a text up to its `quote`.
fn end_of_text(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character in quotes; `None` of a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest[1..].char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(1 + end_of_text(&rest[1..], '\'') + 1);
    }
    let (at, next) = chars.next()?;
    (next == '\'').then_some(1 + at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_characters_are_no_tokens_and_texts_are_one() {
        let source = r##"a::b // crate::c
            /* crate::d */ '"' '\'' 'life "e \" f" r#"g " h"# x"##;
        assert_eq!(texts(source), ["a", "::", "b", "life", "e \\\" f", "g \" h", "x"]);
        let kinds: Vec<_> = tokens("a \"a\" ;").into_iter().map(|token| token.kind).collect();
        assert_eq!(kinds, [Kind::Word, Kind::Text, Kind::Mark]);
    }

    #[test]
    fn unit_tests_are_left_out_and_what_follows_them_is_not() {
        assert_eq!(texts("a #[cfg(test)] mod t { b { c } } d"), ["a", "d"]);
        assert_eq!(texts("a #[cfg(test)] mod t; d"), ["a", "d"]);
    }

    #[test]
    fn each_token_knows_its_line() {
        let lines: Vec<_> = tokens("a\n\"b\nc\"\nd").into_iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
