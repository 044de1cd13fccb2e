/// How a model writes a call as an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `<tool_call>{"name": .., "arguments": ..}</tool_call>`: Hermes, Qwen 2.5 and 3, and many
    /// others. Models whose template knows no tools are told of this one.
    Hermes,
    /// `{"name": .., "parameters": ..}` as the whole answer, perhaps after `<|python_tag|>`: Llama
    /// 3.1 to 3.3.
    Llama3,
    /// `[TOOL_CALLS][{"name": .., "arguments": ..}, ..]`: Mistral.
    Mistral,
}

impl Format {
    /// The notation that a chat template shows.
    pub(crate) fn of_template(source: &str) -> Self {
        if source.contains("<tool_call>") {
            Self::Hermes
        } else if source.contains("[TOOL_CALLS]") {
            Self::Mistral
        } else if source.contains("<|start_header_id|>ipython") || source.contains("<|python_tag|>")
        {
            Self::Llama3
        } else {
            Self::Hermes
        }
    }

    /// What begins a call, or calls.
    pub(crate) fn opener(self) -> &'static str {
        match self {
            Self::Hermes => "<tool_call>",
            Self::Llama3 => "<|python_tag|>",
            Self::Mistral => "[TOOL_CALLS]",
        }
    }

    /// What of its calls may be control tokens.
    pub(crate) fn controls(self) -> &'static [&'static str] {
        match self {
            Self::Hermes => &["<tool_call>", "</tool_call>"],
            Self::Llama3 => &["<|python_tag|>"],
            Self::Mistral => &["[TOOL_CALLS]"],
        }
    }

    /// What may stand between two calls and behind the last one, besides white space.
    pub(super) fn is_between(self, text: &str) -> Between {
        const CLOSER: &str = "</tool_call>";
        let (fits, begins) = match self {
            Self::Hermes => (text.starts_with(CLOSER), CLOSER.starts_with(text)),
            Self::Llama3 => (text.starts_with([';', ',']), false),
            Self::Mistral => (text.starts_with(','), false),
        };
        match (fits, begins) {
            (true, _) if self == Self::Hermes => Between::Closes(CLOSER.len()),
            (true, _) => Between::Continues(1),
            (false, true) => Between::Unclear,
            (false, false) if self == Self::Mistral && text.starts_with(']') => Between::Closes(1),
            (false, false) => Between::Nothing,
        }
    }
}

/// What text behind a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    /// So many bytes end the call; text may follow.
    Closes(usize),
    /// So many bytes lead to another call.
    Continues(usize),
    /// More text has to come.
    Unclear,
    /// It is no part of a call.
    Nothing,
}
