use serde::Serialize;

/// One thing that an answer consists of.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item {
    Reasoning { id: String, status: Status, summary: [(); 0], content: Vec<Part> },
    Message { id: String, status: Status, role: &'static str, content: Vec<Part> },
    FunctionCall { id: String, status: Status, call_id: String, name: String, arguments: String },
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part {
    OutputText { text: String, annotations: [(); 0], logprobs: [(); 0] },
    ReasoningText { text: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
    Failed,
}

/// An item whose text is coming.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// Of the answer's items, its number.
    pub(super) index: usize,
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Reasoning,
    Message,
    /// Its number among the calls, with what it is called by and what it calls.
    Call {
        number: usize,
        call_id: String,
        name: String,
    },
}

impl Kind {
    /// What the ids of such items begin with.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Reasoning => "rs",
            Self::Message => "msg",
            Self::Call { .. } => "fc",
        }
    }

    /// A part with that text; a call has none.
    pub(super) fn part(&self, text: String) -> Option<Part> {
        match self {
            Self::Reasoning => Some(Part::ReasoningText { text }),
            Self::Message => Some(Part::OutputText { text, annotations: [], logprobs: [] }),
            Self::Call { .. } => None,
        }
    }
}

impl Open {
    /// As it is when it has begun.
    pub(super) fn begun(&self) -> Item {
        self.item(Status::InProgress, Vec::new(), String::new())
    }

    /// As it is with all of its text.
    pub(super) fn ended(&self, status: Status) -> Item {
        let parts = self.kind.part(self.text.clone()).into_iter().collect();
        self.item(status, parts, self.text.clone())
    }

    fn item(&self, status: Status, content: Vec<Part>, arguments: String) -> Item {
        let id = self.id.clone();
        match self.kind.clone() {
            Kind::Reasoning => Item::Reasoning { id, status, summary: [], content },
            Kind::Message => Item::Message { id, status, role: "assistant", content },
            Kind::Call { call_id, name, .. } => {
                Item::FunctionCall { id, status, call_id, name, arguments }
            }
        }
    }
}
