use super::{Tool, named::NamedStream, notation::Notation, piece::Piece, stream::ObjectStream};

/// Finds the calls in an answer while it comes.
///
/// What looks like a call and is none, or is one of a function that nobody offered, stays text.
#[derive(Debug, Clone)]
pub(crate) struct CallStream {
    notation: Notation,
    reader: Reader,
}

#[derive(Debug, Clone)]
enum Reader {
    Object(ObjectStream),
    Named(NamedStream),
}

impl CallStream {
    pub(crate) fn new(notation: Notation, tools: &[Tool]) -> Self {
        let reader = match notation {
            Notation::Object(format) => Reader::Object(ObjectStream::new(format, tools)),
            Notation::Named(named) => Reader::Named(NamedStream::new(named, tools)),
        };
        Self { notation, reader }
    }

    /// An id for a call, as the model's template expects them.
    pub(crate) fn new_id(&self) -> String {
        let (prefix, length) = self.notation.id();
        let unique = uuid::Uuid::now_v7().simple().to_string();
        // It ends with what is random.
        format!("{prefix}{}", &unique[unique.len() - length..])
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> usize {
        match &self.reader {
            Reader::Object(reader) => reader.calls(),
            Reader::Named(reader) => reader.calls(),
        }
    }

    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        match &mut self.reader {
            Reader::Object(reader) => reader.push(text),
            Reader::Named(reader) => reader.push(text),
        }
    }

    /// What was held back when no more text comes.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        match &mut self.reader {
            Reader::Object(reader) => reader.finish(),
            Reader::Named(reader) => reader.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::{Format, Named};

    fn tools() -> Vec<Tool> {
        ["get_weather", "add"].map(|name| Tool { name: name.to_owned(), parameters: None }).into()
    }

    /// The text and the calls of `answer`, which comes in pieces of `size` characters.
    fn read(notation: Notation, answer: &str, size: usize) -> (String, Vec<(String, String)>) {
        let mut stream = CallStream::new(notation, &tools());
        let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
        let chars: Vec<_> = answer.chars().collect();
        let mut pieces: Vec<_> = chars
            .chunks(size)
            .flat_map(|part| stream.push(&part.iter().collect::<String>()))
            .collect();
        pieces.extend(stream.finish());
        for piece in pieces {
            match piece {
                Piece::Text(more) => text += &more,
                Piece::Call { index, name } => {
                    assert_eq!(index, calls.len());
                    calls.push((name, String::new()));
                }
                Piece::Arguments { index, text } => calls[index].1 += &text,
            }
        }
        assert_eq!(stream.calls(), calls.len());
        (text, calls)
    }

    #[track_caller]
    fn assert_reads(notation: Notation, answer: &str, text: &str, calls: &[(&str, &str)]) {
        for size in [1, 2, 3, 5, 8, 1000] {
            let (found, made) = read(notation, answer, size);
            let made: Vec<_> =
                made.iter().map(|(name, arguments)| (&**name, &**arguments)).collect();
            assert_eq!((&*found, &*made), (text, calls), "by {size}: {answer}");
        }
    }

    /// As Qwen 2.5 and 3 and Hermes 2 Pro write them.
    #[test]
    fn calls_between_tags_are_read_with_the_text_before_them() {
        let format = Notation::Object(Format::Hermes);
        let paris = r#"{"city": "Paris", "unit": "celsius"}"#;
        assert_reads(
            format,
            &format!(
                "<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {paris}}}\n</tool_call>"
            ),
            "",
            &[("get_weather", paris)],
        );
        assert_reads(
            format,
            "I'll add them, and look outside.\n\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 2, \"b\": [1]}}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"M\\u00fcnchen \\\"<tool_call>\\\"\"}}\n</tool_call>",
            "I'll add them, and look outside.",
            &[
                ("add", r#"{"a": 2, "b": [1]}"#),
                ("get_weather", r#"{"city": "M\u00fcnchen \"<tool_call>\""}"#),
            ],
        );
        // Without white space, with text behind it, and without the end.
        assert_reads(
            format,
            "<tool_call>{\"arguments\":{\"a\":1},\"name\":\"add\"}</tool_call> Done.",
            "Done.",
            &[("add", r#"{"a":1}"#)],
        );
        assert_reads(format, "<tool_call>\n{\"name\": \"add\"}", "", &[("add", "{}")]);
    }

    /// As Llama 3.1 to 3.3 write them.
    #[test]
    fn an_answer_that_is_an_object_is_a_call() {
        let format = Notation::Object(Format::Llama3);
        let object = r#"{"name": "get_weather", "parameters": {"city": "Paris"}}"#;
        let call = [("get_weather", r#"{"city": "Paris"}"#)];
        assert_reads(format, object, "", &call);
        assert_reads(format, &format!("\n\n{object}"), "", &call);
        assert_reads(format, &format!("<|python_tag|>{object}"), "", &call);
        let two =
            format!("{object}; {}", r#"{"type": "function", "name": "add", "parameters": {}}"#);
        assert_reads(format, &two, "", &[call[0], ("add", "{}")]);
        for text in [
            r#"{"name": "Bee", "age": 3}"#,
            r#"{"parameters": 1}"#,
            "Hello {\"name\": \"add\"}",
            "{ is a brace",
        ] {
            assert_reads(format, text, text, &[]);
        }
    }

    /// As Mistral Nemo and Mistral 7B v0.3 write them.
    #[test]
    fn a_list_behind_a_control_token_is_calls() {
        let format = Notation::Object(Format::Mistral);
        assert_reads(
            format,
            r#"[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}, "id": "123456789"}, {"name": "get_weather", "arguments": {"city": "Paris"}}]"#,
            "",
            &[("add", r#"{"a": 1}"#), ("get_weather", r#"{"city": "Paris"}"#)],
        );
        assert_reads(
            format,
            r#"Let me see.[TOOL_CALLS] [{"name": "add", "arguments": {}}]"#,
            "Let me see.",
            &[("add", "{}")],
        );
    }

    #[test]
    fn what_only_looks_like_a_call_stays_text() {
        for text in [
            "a < b, <tool and <tool_call",
            "<tool_call>",
            "<tool_call> is how it begins",
            "<tool_call>\n{\"name\": \"unknown\", \"arguments\": {}}\n</tool_call>",
            "<tool_call>{\"a\": [1, 2]}</tool_call> and more",
            "<tool_call>{\"na",
            "plain text,\n\nin lines \n",
        ] {
            assert_reads(Notation::Object(Format::Hermes), text, text, &[]);
        }
    }

    #[test]
    fn a_call_that_is_cut_off_has_the_arguments_that_came() {
        let cut = "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Pa";
        assert_reads(
            Notation::Object(Format::Hermes),
            cut,
            "",
            &[("get_weather", "{\"city\": \"Pa")],
        );
    }

    const PARIS: &str = r#"{"city": "Paris", "note": "{\"}"}"#;

    /// As DeepSeek V3.1 writes them, and R1 and V3 before it.
    #[test]
    fn calls_between_deepseek_s_marks_are_read() {
        let notation = Notation::Named(Named::DeepSeek);
        let answer = format!(
            "Let me look.\n\n<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}><\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>get_weather<\u{ff5c}tool\u{2581}sep\u{ff5c}>{PARIS}<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>\
             <\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>add<\u{ff5c}tool\u{2581}sep\u{ff5c}>{{}}<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}><\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>"
        );
        let calls = [("get_weather", PARIS), ("add", "{}")];
        assert_reads(notation, &answer, "Let me look.", &calls);
        let answer = format!(
            "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}><\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>function<\u{ff5c}tool\u{2581}sep\u{ff5c}>get_weather\n```json\n{PARIS}\n```<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}>\n\
             <\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>function<\u{ff5c}tool\u{2581}sep\u{ff5c}>add\n```json\n{{}}\n```<\u{ff5c}tool\u{2581}call\u{2581}end\u{ff5c}><\u{ff5c}tool\u{2581}calls\u{2581}end\u{ff5c}>"
        );
        assert_reads(notation, &answer, "", &calls);
    }

    /// As functionary 3.1 and 3.2 write them.
    #[test]
    fn calls_that_name_a_function_or_a_recipient_are_read() {
        let answer = format!(
            "One moment. <function=get_weather>{PARIS}</function><function=add>{{\"a\": 1}}</function>"
        );
        let calls = [("get_weather", PARIS), ("add", "{\"a\": 1}")];
        assert_reads(Notation::Named(Named::Function), &answer, "One moment.", &calls);
        // The prompt ends with the first `>>>`.
        let recipient = Notation::Named(Named::Recipient);
        let answer = format!("all\nOne moment.>>>get_weather\n{PARIS}>>>add\n{{\"a\": 1}}");
        assert_reads(recipient, &answer, "One moment.", &calls);
        assert_reads(recipient, "all\nHello >> there", "Hello >> there", &[]);
        assert_reads(recipient, &format!("get_weather\n{PARIS}"), "", &calls[..1]);
    }

    /// As Gemma 4 and FunctionGemma write them.
    #[test]
    fn gemma_s_arguments_become_json() {
        let calls = [
            ("get_weather", r#"{"city":"Paris","days":3,"units":["c","f"]}"#),
            ("add", r#"{"a":-1.5,"exact":true}"#),
        ];
        let gemma = "<|tool_call>call:get_weather{city:<|\"|>Paris<|\"|>,days:3,units:[<|\"|>c<|\"|>,<|\"|>f<|\"|>]}<tool_call|>\
                     <|tool_call>call:add{a:-1.5,exact:true}<tool_call|>";
        assert_reads(Notation::Named(Named::Gemma4), gemma, "", &calls);
        let function = "Sure.\n<start_function_call>call:get_weather{city:<escape>Paris<escape>,days:3,\
                        units:[<escape>c<escape>,<escape>f<escape>]}<end_function_call>\
                        <start_function_call>call:add{a:-1.5,exact:true}<end_function_call>";
        assert_reads(Notation::Named(Named::FunctionGemma), function, "Sure.", &calls);
    }

    /// As Mistral Small 3.2 and Devstral write them.
    #[test]
    fn a_name_and_arguments_behind_mistral_s_control_token_are_a_call() {
        let answer = format!(
            "[TOOL_CALLS]get_weather[ARGS]{PARIS}[TOOL_CALLS]add[CALL_ID]123456789[ARGS]{{}}"
        );
        let calls = [("get_weather", PARIS), ("add", "{}")];
        assert_reads(Notation::Named(Named::Mistral), &answer, "", &calls);
    }

    /// As gpt-oss writes them, behind its thoughts.
    #[test]
    fn channels_are_text_or_calls() {
        let channel = Notation::Named(Named::Channel);
        for text in [
            "<|channel|>final<|message|>Well, <b>.",
            "<|start|>assistant<|channel|>final<|message|>Well, <b>.",
            "Well, <b>.",
        ] {
            assert_reads(channel, text, "Well, <b>.", &[]);
        }
        let calls = [("get_weather", PARIS)];
        for call in [
            format!(
                "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{PARIS}<|call|>"
            ),
            format!(" to=functions.get_weather<|channel|>commentary json<|message|>{PARIS}"),
        ] {
            assert_reads(channel, &call, "", &calls);
        }
        let both = format!(
            "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{PARIS}"
        );
        assert_reads(channel, &both, "Let me look.", &calls);
    }

    #[test]
    fn what_names_no_tool_stays_text() {
        for (named, answer) in [
            (Named::Function, "a <function=unknown>{}</function>"),
            (Named::Function, "a <function, b <function="),
            (Named::Gemma4, "<|tool_call>call:unknown{a:1}<tool_call|>"),
            (
                Named::DeepSeek,
                "<\u{ff5c}tool\u{2581}call\u{2581}begin\u{ff5c}>unknown<\u{ff5c}tool\u{2581}sep\u{ff5c}>{}",
            ),
            (Named::Mistral, "[TOOL_CALLS]"),
        ] {
            assert_reads(Notation::Named(named), answer, answer, &[]);
        }
    }

    #[test]
    fn named_calls_that_are_cut_off_have_the_arguments_that_came() {
        let cut = "<function=get_weather>{\"city\": \"Pa";
        assert_reads(
            Notation::Named(Named::Function),
            cut,
            "",
            &[("get_weather", "{\"city\": \"Pa")],
        );
        let cut = "<|tool_call>call:get_weather{city:<|\"|>Pa";
        assert_reads(Notation::Named(Named::Gemma4), cut, "", &[("get_weather", "{}")]);
    }

    #[test]
    fn ids_are_as_long_as_templates_expect_and_differ() {
        for (notation, length) in [
            (Notation::Object(Format::Hermes), 29),
            (Notation::Object(Format::Mistral), 9),
            (Notation::Named(Named::Mistral), 9),
        ] {
            let stream = CallStream::new(notation, &[]);
            let (one, two) = (stream.new_id(), stream.new_id());
            assert!(one.len() == length && one != two, "{one} {two}");
        }
    }
}
