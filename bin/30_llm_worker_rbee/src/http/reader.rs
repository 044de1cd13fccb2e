use crate::{
    thoughts::{Said, ThoughtStream},
    tools::{CallStream, Piece},
};

/// Takes an answer's text apart while it comes: thoughts, text, calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    /// Tells thoughts, where there may be any that are to stand apart.
    pub(super) thoughts: Option<ThoughtStream>,
    /// Finds calls, where there may be any.
    pub(super) calls: Option<CallStream>,
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Part {
    Thought(String),
    Said(Piece),
}

impl Reader {
    /// The parts of text that has come.
    pub(super) fn push(&mut self, text: String) -> Vec<Part> {
        let said = match &mut self.thoughts {
            Some(thoughts) => thoughts.push(&text),
            None => vec![Said::Aloud(text)],
        };
        self.parts(said)
    }

    /// The parts that were held back to the end.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        let said = self.thoughts.as_mut().and_then(ThoughtStream::finish);
        let mut parts = self.parts(said);
        let last = self.calls.as_mut().map(CallStream::finish).unwrap_or_default();
        parts.extend(last.into_iter().map(Part::Said));
        parts
    }

    fn parts(&mut self, said: impl IntoIterator<Item = Said>) -> Vec<Part> {
        let mut parts = Vec::new();
        for said in said {
            match (said, &mut self.calls) {
                (Said::Thought(text), _) => parts.push(Part::Thought(text)),
                (Said::Aloud(text), Some(calls)) => {
                    parts.extend(calls.push(&text).into_iter().map(Part::Said));
                }
                (Said::Aloud(text), None) => parts.push(Part::Said(Piece::Text(text))),
            }
        }
        parts
    }

    pub(super) fn has_calls(&self) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.calls() > 0)
    }

    pub(super) fn call_id(&self) -> String {
        self.calls.as_ref().map(CallStream::new_id).unwrap_or_default()
    }
}
