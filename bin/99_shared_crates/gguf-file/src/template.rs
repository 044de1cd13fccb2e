/// What a model's template for chats shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Template {
    /// Tools, and that they are called.
    pub tools: bool,
    /// What the model thinks before it answers.
    pub thoughts: bool,
}

/// What begins a model's thoughts and what ends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThoughtTags {
    pub open: &'static str,
    pub close: &'static str,
}

const KNOWN: [ThoughtTags; 6] = [
    // DeepSeek, Qwen, and many others.
    ThoughtTags { open: "<think>", close: "</think>" },
    // Mistral.
    ThoughtTags { open: "[THINK]", close: "[/THINK]" },
    // Cohere.
    ThoughtTags { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    ThoughtTags { open: "<seed:think>", close: "</seed:think>" },
    // Gemma 4.
    ThoughtTags { open: "<|channel>thought", close: "<channel|>" },
    // gpt-oss.
    ThoughtTags { open: "<|channel|>analysis<|message|>", close: "<|end|>" },
];

impl Template {
    /// As its Jinja text has it.
    #[must_use]
    pub fn of(source: &str) -> Self {
        let thoughts = ThoughtTags::of_template(source).is_some();
        Self { tools: shows_tools(source), thoughts }
    }
}

/// Whether a template shows tools and their calls.
#[must_use]
pub fn shows_tools(source: &str) -> bool {
    source.contains("tools") && source.contains("tool_calls")
}

impl ThoughtTags {
    /// Those that a template names; `None` for a model that does not think.
    #[must_use]
    pub fn of_template(source: &str) -> Option<Self> {
        KNOWN.into_iter().find(|tags| match tags.close {
            // Other models end their turns so.
            "<|end|>" => source.contains("<|channel|>analysis"),
            close => source.contains(close),
        })
    }

    /// What of them may be control tokens.
    #[must_use]
    pub fn controls(self) -> [&'static str; 2] {
        // Gemma's word behind the token is text.
        [self.open.strip_suffix("thought").unwrap_or(self.open), self.close]
    }

    /// Whether an answer to `prompt` begins with thoughts, which the prompt has opened.
    #[must_use]
    pub fn opened_in(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_the_tags_and_a_prompt_may_open_them() {
        let think = KNOWN[0];
        assert_eq!(ThoughtTags::of_template("{{ x.split('</think>') }}"), Some(think));
        assert_eq!(ThoughtTags::of_template("{{ messages + '<|end|>' }}"), None);
        assert_eq!(ThoughtTags::of_template("'<|channel|>analysis<|message|>'"), Some(KNOWN[5]));
        assert!(think.opened_in("<|Assistant|><think>\n"));
        assert!(!think.opened_in("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    }

    #[test]
    fn a_template_shows_what_its_text_names() {
        let tools = "{% for t in tools %}{{ t }}{% endfor %}{{ m.tool_calls }}";
        assert_eq!(Template::of(tools), Template { tools: true, thoughts: false });
        // It lists them, and cannot show that one was called.
        assert_eq!(Template::of("{{ tools }}"), Template::default());
        let thoughts = Template { tools: false, thoughts: true };
        assert_eq!(Template::of("{{ content.split('</think>')[-1] }}"), thoughts);
    }
}
