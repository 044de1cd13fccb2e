//! Gemma's arguments, which are not JSON: names without quotes, and texts between tokens of their own.

use crate::json::Json;

const DEPTH_MAX: usize = 64;

/// What a text begins with.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// An object, as JSON text, of so many bytes.
    Object { json: String, bytes: usize },
    /// It may be an object once more of it has come.
    More,
}

/// Reads the object that `text` begins with, whose texts are between two `quote`s.
pub(super) fn read(text: &str, quote: &str) -> Read {
    let mut reader = Reader { text, quote, at: 0, depth: 0 };
    match reader.value() {
        Some(value) => Read::Object { json: value.to_text(), bytes: reader.at },
        None => Read::More,
    }
}

struct Reader<'t> {
    text: &'t str,
    quote: &'t str,
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    /// `None` where the text ends before the value.
    fn value(&mut self) -> Option<Json> {
        self.space();
        if let Some(text) = self.quoted() {
            return text.map(Json::Text);
        }
        match self.rest().chars().next()? {
            '{' => self.nested('}').map(Json::Object),
            '[' => {
                let items = self.nested(']')?;
                Some(Json::Array(items.into_iter().map(|(_, value)| value).collect()))
            }
            _ => {
                let end = self.rest().find([',', '}', ']'])?;
                let bare = self.rest()[..end].trim();
                let value = serde_json::from_str(bare).unwrap_or_else(|_| Json::text(bare));
                self.at += end;
                Some(value)
            }
        }
    }

    /// The members up to `end`; those of an array have no names.
    fn nested(&mut self, end: char) -> Option<Vec<(String, Json)>> {
        self.at += 1;
        self.depth += 1;
        let mut members = Vec::new();
        loop {
            self.space();
            match self.rest().chars().next()? {
                next if next == end => break,
                ',' => {
                    self.at += 1;
                    continue;
                }
                _ => {}
            }
            let name = if end == '}' { self.name()? } else { String::new() };
            // What nests deeper is nobody's arguments.
            let value = if self.depth < DEPTH_MAX { self.value()? } else { return None };
            members.push((name, value));
        }
        self.at += 1;
        self.depth -= 1;
        Some(members)
    }

    fn name(&mut self) -> Option<String> {
        let name = match self.quoted() {
            Some(name) => name?,
            None => {
                let end = self.rest().find(':')?;
                let name = self.rest()[..end].trim().trim_matches('"').to_owned();
                self.at += end;
                name
            }
        };
        self.space();
        self.rest().chars().next()?;
        if self.rest().starts_with(':') {
            self.at += 1;
        }
        Some(name)
    }

    /// A text between quotes, if one begins here; within that `None` where it does not end.
    fn quoted(&mut self) -> Option<Option<String>> {
        let quote = match self.rest() {
            rest if rest.starts_with(self.quote) => self.quote,
            rest if rest.starts_with('"') => "\"",
            // The quote itself may not be whole yet.
            rest if !rest.is_empty() && self.quote.starts_with(rest) => return Some(None),
            _ => return None,
        };
        let begin = self.at + quote.len();
        let Some(length) = self.text[begin..].find(quote) else { return Some(None) };
        self.at = begin + length + quote.len();
        Some(Some(self.text[begin..begin + length].to_owned()))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: &str = "<|\"|>";

    #[test]
    fn arguments_become_json() {
        for (text, json) in [
            ("{}", "{}"),
            (
                r#"{city:<|"|>Paris, {France}<|"|>,days:3}"#,
                r#"{"city":"Paris, {France}","days":3}"#,
            ),
            (
                r#"{a:true,b:null,c:-1.5,d:[1,<|"|>x<|"|>,{e:<|"|>"q"<|"|>}],f:{}}"#,
                r#"{"a":true,"b":null,"c":-1.5,"d":[1,"x",{"e":"\"q\""}],"f":{}}"#,
            ),
            (r#"{ "a" : "b" , c: word }"#, r#"{"a":"b","c":"word"}"#),
            ("{a:[]}", r#"{"a":[]}"#),
        ] {
            let (json, bytes) = (json.to_owned(), text.len());
            assert_eq!(read(&format!("{text}<tool_call|>"), QUOTE), Read::Object { json, bytes });
            for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
                assert_eq!(read(&text[..end], QUOTE), Read::More, "{}", &text[..end]);
            }
        }
    }

    #[test]
    fn what_nests_too_deep_is_no_object() {
        assert_eq!(read(&format!("{}{}", "[".repeat(5000), "]".repeat(5000)), QUOTE), Read::More);
    }
}
