use super::{format::Format, named::Named};

/// How a model writes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    /// A JSON object with the function's name and its arguments.
    Object(Format),
    /// The function's name, and then its arguments.
    Named(Named),
}

impl Notation {
    /// The one that a chat template shows. Models whose template knows no tools are told of Hermes'.
    pub(crate) fn of_template(source: &str) -> Self {
        let named = [
            ("<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>", Named::DeepSeek),
            ("<|tool_call>", Named::Gemma4),
            ("<start_function_call>", Named::FunctionGemma),
            (">>>all", Named::Recipient),
            ("<|channel|>commentary", Named::Channel),
            ("[ARGS]", Named::Mistral),
        ];
        if let Some((_, named)) = named.iter().find(|(mark, _)| source.contains(mark)) {
            return Self::Named(*named);
        }
        let has_parameters = source.contains("<parameter=");
        if source.contains("<function=") && !has_parameters && !source.contains("<tool_call>") {
            return Self::Named(Named::Function);
        }
        Self::Object(Format::of_template(source))
    }

    /// What begins a call, or calls.
    pub(crate) fn opener(self) -> &'static str {
        match self {
            Self::Object(format) => format.opener(),
            Self::Named(named) => named.opener(),
        }
    }

    /// Whether its marks stand in every answer, so that one without tools is read too.
    pub(crate) fn is_everywhere(self) -> bool {
        matches!(self, Self::Named(named) if named.is_everywhere())
    }

    /// What of its calls may be control tokens.
    pub(crate) fn controls(self) -> &'static [&'static str] {
        match self {
            Self::Object(format) => format.controls(),
            Self::Named(named) => named.controls(),
        }
    }

    /// Ids of calls have this many letters and digits, after this.
    pub(super) fn id(self) -> (&'static str, usize) {
        match self {
            // Mistral's templates refuse any other.
            Self::Object(Format::Mistral) | Self::Named(Named::Mistral) => ("", 9),
            Self::Object(_) | Self::Named(_) => ("call_", 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_shows_how_its_model_calls() {
        for (source, notation) in [
            ("{{ '\\n<tool_call>\\n' }}{{ call | tojson }}", Notation::Object(Format::Hermes)),
            ("{{ '[TOOL_CALLS][' }}", Notation::Object(Format::Mistral)),
            ("<|start_header_id|>ipython<|end_header_id|>", Notation::Object(Format::Llama3)),
            ("{{ message.content }}", Notation::Object(Format::Hermes)),
            ("{{ '[TOOL_CALLS]' + name + '[ARGS]' }}", Notation::Named(Named::Mistral)),
            (
                "'<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}><\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>' + name",
                Notation::Named(Named::DeepSeek),
            ),
            ("{{ '<function=' + name + '>' }}", Notation::Named(Named::Function)),
            ("{{ '>>>all\\n' }}", Notation::Named(Named::Recipient)),
            ("{{ '<|channel|>commentary to=' }}", Notation::Named(Named::Channel)),
            ("{{ '<|tool_call>call:' }}", Notation::Named(Named::Gemma4)),
        ] {
            assert_eq!(Notation::of_template(source), notation, "{source}");
        }
    }
}
