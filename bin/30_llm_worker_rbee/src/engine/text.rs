//! Bytes of tokens to text that may be sent.

use std::borrow::Cow;

use crate::overlap::overlap;

/// Turns the bytes of successive tokens into text, holding back what is not yet certain: the first
/// bytes of a character, and text that may become a stop string.
#[derive(Debug, Default)]
pub(crate) struct TextStream {
    stops: Vec<String>,
    /// Bytes that end within a character.
    partial: Vec<u8>,
    /// Text that is a proper prefix of some stop string.
    held: String,
}

/// What a token added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// What can be sent now; often empty.
    pub(crate) text: String,
    /// The stop string that was completed. Nothing follows it, and it is not in the text.
    pub(crate) stopped: Option<String>,
}

impl TextStream {
    /// Empty stop strings are ignored.
    pub(crate) fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, ..Self::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> Pushed {
        let decoded = self.decode(bytes);
        if self.stops.is_empty() {
            return Pushed { text: decoded, stopped: None };
        }
        self.held.push_str(&decoded);
        let found =
            self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop)));
        if let Some((at, stop)) = found.min_by_key(|(at, _)| *at) {
            let stopped = Some(stop.clone());
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Pushed { text, stopped };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let held = self.held.split_off(self.held.len() - keep);
        Pushed { text: std::mem::replace(&mut self.held, held), stopped: None }
    }

    /// What was held back when no more tokens come; a character left incomplete becomes U+FFFD.
    pub(crate) fn finish(&mut self) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&String::from_utf8_lossy(&std::mem::take(&mut self.partial)));
        text
    }

    /// The characters completed by `bytes`.
    fn decode(&mut self, bytes: &[u8]) -> String {
        let joined: Cow<'_, [u8]> = if self.partial.is_empty() {
            Cow::Borrowed(bytes)
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(bytes);
            Cow::Owned(joined)
        };
        let mut text = String::with_capacity(joined.len());
        let mut chunks = joined.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_unfinished(invalid) {
                self.partial = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

/// Whether more bytes could make `bytes` one character.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes each piece; the texts sent, by what it stopped, and what `finish` gave.
    fn stream(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, Option<String>, String) {
        let mut stream = TextStream::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut texts = Vec::new();
        for piece in pieces {
            let pushed = stream.push(piece);
            texts.push(pushed.text);
            if pushed.stopped.is_some() {
                return (texts, pushed.stopped, String::new());
            }
        }
        (texts, None, stream.finish())
    }

    fn by(stop: &str) -> Option<String> {
        Some(stop.to_owned())
    }

    fn texts(expected: &[&str]) -> Vec<String> {
        expected.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_character_split_over_tokens_is_sent_whole() {
        let bee = "\u{1f41d}".as_bytes();
        let (sent, _, rest) = stream(&[], &[&bee[..1], &bee[1..3], &bee[3..], b"z"]);
        assert_eq!((sent, rest.as_str()), (texts(&["", "", "\u{1f41d}", "z"]), ""));
    }

    #[test]
    fn bytes_that_are_no_character_become_replacement_characters() {
        assert_eq!(stream(&[], &[b"a\xff\xfeb", b"c"]).0, texts(&["a\u{fffd}\u{fffd}b", "c"]));
        let (sent, _, rest) = stream(&[], &[b"a\xf0\x9f", b"b"]);
        assert_eq!((sent, rest.as_str()), (texts(&["a", "\u{fffd}b"]), ""));
    }

    #[test]
    fn an_unfinished_character_at_the_end_is_replaced() {
        assert_eq!(stream(&[], &[b"a\xf0\x9f"]).2, "\u{fffd}");
    }

    #[test]
    fn a_stop_string_over_three_tokens_is_never_sent() {
        let (sent, stopped, _) = stream(&["<end>"], &[b"one <", b"en", b"d> two"]);
        assert_eq!((sent, stopped), (texts(&["one ", "", ""]), by("<end>")));
    }

    #[test]
    fn what_looked_like_a_stop_string_is_sent_when_it_is_none() {
        let (sent, stopped, rest) = stream(&["<end>"], &[b"one <", b"en", b"ough"]);
        assert_eq!((sent, stopped, rest.as_str()), (texts(&["one ", "", "<enough"]), None, ""));
        assert_eq!(stream(&["<end>"], &[b"a<e"]).2, "<e");
    }

    #[test]
    fn the_earliest_stop_string_wins() {
        let (sent, stopped, _) = stream(&["cd", "bcx", "b"], &[b"abcd"]);
        assert_eq!((sent, stopped), (texts(&["a"]), by("b")));
    }

    #[test]
    fn a_stop_string_that_repeats_itself_is_found() {
        let (sent, stopped, _) = stream(&["aab"], &[b"a", b"a", b"a", b"b"]);
        assert_eq!((sent, stopped), (texts(&["", "", "a", ""]), by("aab")));
    }

    #[test]
    fn a_stop_string_may_begin_within_a_character_of_its_own() {
        let stop = "\u{e9}\u{e8}";
        let (sent, stopped, _) = stream(&[stop], &[b"x\xc3", b"\xa9\xc3", b"\xa8y"]);
        assert_eq!((sent, stopped), (texts(&["x", "", ""]), by(stop)));
    }
}
