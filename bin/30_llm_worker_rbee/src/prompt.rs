//! What of a conversation's prompt may be control tokens: what the template wrote, and nothing that
//! a message says.
//!
//! Models know the turns of a conversation by tokens whose text anybody can type. Each such text in
//! a message is replaced by a placeholder before the template sees it; in the rendered prompt it
//! stands as plain text again, in a part whose control tokens are not looked for.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
};

use crate::json::Json;

/// Around a placeholder's number. Unicode keeps both from text, and where a message has them they
/// are replaced too.
const OPEN: char = '\u{fdd0}';
const CLOSE: char = '\u{fdd1}';

/// The texts of a vocabulary's control tokens.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    texts: HashSet<String>,
    /// Their lengths in bytes, and their first bytes.
    lengths: BTreeSet<usize>,
    firsts: HashSet<u8>,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its control tokens are the template's.
    Template(String),
    /// It has none, whatever it looks like.
    Plain(String),
}

/// What placeholders stand for, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Shielded(Vec<String>);

impl Controls {
    pub(crate) fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: HashSet<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        let lengths = texts.iter().map(String::len).collect();
        let firsts = texts.iter().map(|text| text.as_bytes()[0]).collect();
        Self { texts, lengths, firsts }
    }

    /// The longest one that `text` has at `at`.
    fn at<'t>(&self, text: &'t str, at: usize) -> Option<&'t str> {
        if !self.firsts.contains(&text.as_bytes()[at]) {
            return None;
        }
        let candidates = self.lengths.iter().rev().filter_map(|length| text.get(at..at + length));
        candidates.into_iter().find(|candidate| self.texts.contains(*candidate))
    }

    /// Puts placeholders into every string of what a template is rendered with.
    pub(crate) fn shield(&self, context: &Json) -> (Json, Shielded) {
        let mut shielded = Shielded::default();
        (self.shield_value(context, &mut shielded), shielded)
    }

    fn shield_value(&self, value: &Json, shielded: &mut Shielded) -> Json {
        match value {
            Json::Text(text) => Json::Text(self.shield_text(text, shielded).into_owned()),
            Json::Array(items) => {
                Json::Array(items.iter().map(|item| self.shield_value(item, shielded)).collect())
            }
            Json::Object(members) => {
                let member = |(name, value): &(String, Json)| {
                    let name = self.shield_text(name, shielded).into_owned();
                    (name, self.shield_value(value, shielded))
                };
                Json::Object(members.iter().map(member).collect())
            }
            other => other.clone(),
        }
    }

    fn shield_text<'t>(&self, text: &'t str, shielded: &mut Shielded) -> Cow<'t, str> {
        let mut replaced = String::new();
        let (mut copied, mut at) = (0, 0);
        while at < text.len() {
            let Some(character) = text[at..].chars().next() else { break };
            let found = match self.at(text, at) {
                Some(control) => control,
                None if matches!(character, OPEN | CLOSE) => &text[at..at + character.len_utf8()],
                None => {
                    at += character.len_utf8();
                    continue;
                }
            };
            replaced.push_str(&text[copied..at]);
            replaced.push_str(&shielded.placeholder(found));
            at += found.len();
            copied = at;
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        replaced.push_str(&text[copied..]);
        Cow::Owned(replaced)
    }

    /// The rendered prompt, with the placeholders' texts back in it.
    ///
    /// A part of plain text reaches from one control token of the template's to the next, so that
    /// it is tokenised as llama.cpp tokenises any text between two control tokens.
    pub(crate) fn parts(&self, rendered: &str, shielded: &Shielded) -> Vec<Part> {
        if shielded.0.is_empty() {
            return vec![Part::Template(rendered.to_owned())];
        }
        let (mut parts, mut template) = (Vec::new(), String::new());
        let (mut begin, mut at) = (0, 0);
        loop {
            let control = (at < rendered.len()).then(|| self.at(rendered, at)).flatten();
            if control.is_none() && at < rendered.len() {
                at += rendered[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            let between = &rendered[begin..at];
            if between.contains(OPEN) {
                if !template.is_empty() {
                    parts.push(Part::Template(std::mem::take(&mut template)));
                }
                parts.push(Part::Plain(shielded.restore(between)));
            } else {
                template.push_str(between);
            }
            let Some(control) = control else { break };
            template.push_str(control);
            at += control.len();
            begin = at;
        }
        if !template.is_empty() {
            parts.push(Part::Template(template));
        }
        parts
    }
}

impl Shielded {
    fn placeholder(&mut self, text: &str) -> String {
        let number = self.0.iter().position(|known| known == text).unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        format!("{OPEN}{number}{CLOSE}")
    }

    /// A placeholder that the template has cut is left out.
    fn restore(&self, text: &str) -> String {
        let mut pieces = text.split(OPEN);
        let mut restored = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (number, rest) = piece.split_once(CLOSE).unwrap_or(("", piece));
            let known = number.parse().ok().and_then(|number: usize| self.0.get(number));
            restored.push_str(known.map_or("", String::as_str));
            restored.push_str(rest);
        }
        restored
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn controls() -> Controls {
        Controls::new(["<|im_start|>", "<|im_end|>", "<s>", "<s>x"].map(str::to_owned))
    }

    /// What a template that writes `<|im_start|>TEXT<|im_end|>` makes of `text`.
    fn parts(text: &str) -> Vec<Part> {
        let (context, shielded) = controls().shield(&json!({ "text": text }).into());
        let rendered =
            format!("<|im_start|>{}<|im_end|>", context.get("text").unwrap().as_str().unwrap());
        controls().parts(&rendered, &shielded)
    }

    fn template(text: &str) -> Part {
        Part::Template(text.to_owned())
    }

    fn plain(text: &str) -> Part {
        Part::Plain(text.to_owned())
    }

    #[test]
    fn a_message_without_control_texts_leaves_the_prompt_whole() {
        for text in ["", "Hi <b> there", "\u{e9}\u{1f41d}", "<|im_end|", "<", "< s>"] {
            assert_eq!(parts(text), [template(&format!("<|im_start|>{text}<|im_end|>"))]);
        }
    }

    #[test]
    fn a_control_text_in_a_message_is_plain_with_what_surrounds_it() {
        for text in
            ["<|im_end|>", "a<|im_end|>b<|im_start|>c", "<s>x<s>", "<s><s>", "\u{e9}<s>\u{e9}"]
        {
            assert_eq!(
                parts(text),
                [template("<|im_start|>"), plain(text), template("<|im_end|>")]
            );
        }
    }

    #[test]
    fn placeholders_cannot_be_written_by_a_message() {
        for text in ["\u{fdd0}0\u{fdd1}", "<s>\u{fdd0}0\u{fdd1}", "\u{fdd1}\u{fdd0}", "\u{fdd0}<s>"]
        {
            assert_eq!(
                parts(text),
                [template("<|im_start|>"), plain(text), template("<|im_end|>")]
            );
        }
    }

    #[test]
    fn names_and_nested_values_are_shielded_too() {
        let context = json!({ "tools": [{ "<s>": { "deep": ["a<s>"] } }], "n": 3, "none": null });
        let (shielded, _) = controls().shield(&context.into());
        let shielded = shielded.to_text();
        assert!(!shielded.contains("<s>"), "{shielded}");
        let shielded: Value = serde_json::from_str(&shielded).unwrap();
        assert_eq!((&shielded["n"], &shielded["none"]), (&json!(3), &Value::Null));
    }

    #[test]
    fn a_placeholder_that_the_template_has_cut_gives_no_control_token() {
        let (context, shielded) = controls().shield(&json!("<|im_end|>").into());
        let cut: String = context.as_str().unwrap().chars().skip(1).collect();
        let all = controls().parts(&format!("{cut}{OPEN}7{CLOSE}{OPEN}"), &shielded);
        assert!(matches!(&all[..], [Part::Plain(text)] if !text.contains("<|im_end|>")), "{all:?}");
    }
}
