//! When a grammar holds.

use super::request::Holds;
use crate::json::Extent;

/// Tokens of white space that may come behind thoughts.
const SPACES_MAX: u32 = 4;

/// Follows an answer's tokens, to tell which of them its grammar is about.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    /// The last bytes of the answer, where something is looked for in them.
    tail: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// It holds for all that comes.
    Holds,
    /// It holds from here on, unless the next token is this one, which begins thoughts.
    Begins {
        open: i32,
        close: &'static str,
    },
    /// It holds behind this.
    Before {
        close: &'static str,
    },
    /// It holds from here on, but for so much white space.
    Behind {
        spaces: u32,
    },
    /// What it is about has begun within a token.
    Missed,
    /// It holds for a JSON value behind each of these.
    Outside {
        opener: &'static str,
    },
    Inside {
        opener: &'static str,
        value: Extent,
    },
}

/// What a token has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing of note.
    On,
    /// It was the last one of what the grammar is about, which may come again.
    Out,
}

impl Gate {
    pub(super) fn new(holds: Holds) -> Self {
        let state = match holds {
            Holds::Throughout => State::Holds,
            Holds::AfterThoughts { opened: true, close, .. } => State::Before { close },
            Holds::AfterThoughts { open: Some(open), close, .. } => State::Begins { open, close },
            Holds::AfterThoughts { open: None, .. } => State::Holds,
            Holds::InCalls { opener } => State::Outside { opener },
        };
        Self { state, tail: Vec::new() }
    }

    /// Whether the next token is the grammar's affair.
    pub(super) fn holds(&self) -> bool {
        match self.state {
            State::Holds | State::Begins { .. } | State::Behind { .. } | State::Inside { .. } => {
                true
            }
            State::Before { .. } | State::Missed | State::Outside { .. } => false,
        }
    }

    /// Whether the next token may be this one, which stands for `piece`, whatever the grammar says.
    pub(super) fn admits(&self, token: i32, piece: &[u8]) -> bool {
        match self.state {
            State::Begins { open, .. } => open == token,
            State::Behind { spaces } => spaces > 0 && is_space(piece),
            _ => false,
        }
    }

    /// Whether the grammar can hold no more.
    pub(super) fn is_missed(&self) -> bool {
        matches!(self.state, State::Missed)
    }

    /// Goes on behind `token`, which stands for `piece`.
    pub(super) fn push(&mut self, token: i32, piece: &[u8]) -> Passed {
        match &mut self.state {
            State::Holds | State::Missed => {}
            State::Begins { open, close } => {
                let close = *close;
                self.state = if token == *open { State::Before { close } } else { State::Holds };
            }
            State::Before { close } => {
                let close = *close;
                match self.behind(close, piece) {
                    Some(true) => self.state = State::Behind { spaces: SPACES_MAX },
                    Some(false) => self.state = State::Missed,
                    None => {}
                }
            }
            State::Behind { spaces } => {
                let spaces = *spaces;
                self.state = match spaces > 0 && is_space(piece) {
                    true => State::Behind { spaces: spaces - 1 },
                    false => State::Holds,
                };
            }
            State::Outside { opener } => {
                let opener = *opener;
                // A value that has begun within the token is left to the model.
                if self.behind(opener, piece) == Some(true) {
                    self.state = State::Inside { opener, value: Extent::default() };
                }
            }
            State::Inside { opener, value } => {
                if piece.iter().any(|&byte| value.ends_with(byte)) {
                    self.state = State::Outside { opener };
                    return Passed::Out;
                }
            }
        }
        Passed::On
    }

    /// Once `text` has come, whether nothing but white space has come behind it.
    fn behind(&mut self, text: &str, piece: &[u8]) -> Option<bool> {
        self.tail.extend_from_slice(piece);
        let text = text.as_bytes();
        let found = self.tail.windows(text.len()).rposition(|part| part == text);
        let Some(at) = found else {
            let keep = self.tail.len().min(text.len() - 1);
            self.tail.drain(..self.tail.len() - keep);
            return None;
        };
        let is_clear = self.tail[at + text.len()..].iter().all(u8::is_ascii_whitespace);
        self.tail.clear();
        Some(is_clear)
    }
}

/// Whether it is white space, and not nothing.
fn is_space(piece: &[u8]) -> bool {
    !piece.is_empty() && piece.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: i32 = 7;
    const THOUGHTS: Holds =
        Holds::AfterThoughts { open: Some(OPEN), close: "</think>", opened: false };
    const OPENED: Holds = Holds::AfterThoughts { open: None, close: "</think>", opened: true };
    const CALLS: Holds = Holds::InCalls { opener: "<call>" };

    /// Before each of the pieces, and behind the last, whether the grammar holds; and how often what
    /// it is about has ended.
    fn follow(holds: Holds, pieces: &[&str]) -> (String, usize) {
        let mut gate = Gate::new(holds);
        let mut ended = 0;
        let mut held = String::new();
        let sign = |gate: &Gate| match gate.is_missed() {
            true => '!',
            false => {
                if gate.holds() {
                    'x'
                } else {
                    '.'
                }
            }
        };
        for piece in pieces {
            held.push(sign(&gate));
            let token = if *piece == "<think>" { OPEN } else { 0 };
            ended += usize::from(gate.push(token, piece.as_bytes()) == Passed::Out);
        }
        held.push(sign(&gate));
        (held, ended)
    }

    #[test]
    fn a_grammar_may_hold_behind_thoughts() {
        assert_eq!(follow(Holds::Throughout, &["a", "</think>"]), ("xxx".to_owned(), 0));
        assert_eq!(follow(THOUGHTS, &["{", "</think>"]), ("xxx".to_owned(), 0));
        assert_eq!(
            follow(THOUGHTS, &["<think>", "a </", "thi", "nk>\n\n", "{", "}"]),
            ("x...xxx".to_owned(), 0)
        );
        assert_eq!(follow(OPENED, &["a", "</think>", "{"]), ("..xx".to_owned(), 0));
        // What it is about has begun where nothing held it.
        assert_eq!(follow(OPENED, &["a", "</think>{"]), ("..!".to_owned(), 0));
    }

    #[test]
    fn thoughts_and_the_white_space_behind_them_may_come_whatever_the_grammar_says() {
        let mut gate = Gate::new(THOUGHTS);
        assert!(gate.admits(OPEN, b"<think>") && !gate.admits(0, b"\n"));
        gate.push(OPEN, b"<think>");
        gate.push(0, b"</think>");
        for _ in 0..SPACES_MAX {
            assert!(gate.admits(0, b"\n\n") && !gate.admits(0, b" a") && !gate.admits(0, b""));
            gate.push(0, b"\n\n");
        }
        assert!(gate.holds() && !gate.admits(0, b"\n\n"));
        gate.push(0, b"a");
        assert!(gate.holds() && !gate.admits(0, b"\n"));
    }

    #[test]
    fn a_grammar_may_hold_for_each_call() {
        assert_eq!(
            follow(
                CALLS,
                &[
                    "a <",
                    "call",
                    ">\n",
                    "{\"}",
                    "\": \"\\\"}\"",
                    "}",
                    "</call>",
                    "<call>",
                    "[{}",
                    "]",
                    "b"
                ]
            ),
            ("...xxx..xx..".to_owned(), 2)
        );
        assert_eq!(follow(CALLS, &["a <call> is", "{"]), ("...".to_owned(), 0));
    }
}
