//! Messages to prompt, by the model's own chat template.
//!
//! A GGUF file carries its template as Jinja text, written for Hugging Face's Python. It comes with
//! the model, so it is run without access to anything, with bounded work and depth.

use std::io;

use gguf_file::{ThoughtTags, shows_tools};
use minijinja::{
    Environment, Error, ErrorKind, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
};
use serde::Serialize as _;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::{json::Json, tools::Notation};

/// What llama.cpp too falls back to for a model without a template.
pub(crate) const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// What that one is called where one is chosen.
pub(crate) const CHATML_NAME: &str = "chatml";

/// Instructions, or times 64 bytes, that one rendering may take. A context full of text takes some
/// ten thousand.
const FUEL: u64 = 4_000_000;
const NAME: &str = "chat";

#[derive(Debug, thiserror::Error)]
#[error("the model's chat template refuses these messages: {reason}")]
pub(crate) struct TemplateError {
    reason: String,
}

/// A compiled template.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// Why `environment` holds no template.
    broken: Option<String>,
    pub(crate) bos: String,
    pub(crate) eos: String,
    /// Its text; empty for a model that has none.
    pub(crate) source: String,
    /// How it shows that functions are called.
    pub(crate) notation: Notation,
    /// What its model's thoughts stand between, where it has any.
    pub(crate) thoughts: Option<ThoughtTags>,
    /// Whether it shows tools and calls at all.
    pub(crate) knows_tools: bool,
}

impl ChatTemplate {
    /// A template that does not compile is reported when it is used: the model still completes
    /// plain prompts.
    pub(crate) fn new(source: Option<String>, bos: String, eos: String) -> Self {
        let mut environment = Environment::new();
        if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
            environment.set_syntax(syntax);
        }
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        let source = source.unwrap_or_default();
        let (notation, thoughts) =
            (Notation::of_template(&source), ThoughtTags::of_template(&source));
        let knows_tools = shows_tools(&source);
        let compiled = if source.is_empty() { CHATML.to_owned() } else { source.clone() };
        let broken =
            environment.add_template_owned(NAME, compiled).err().map(|error| error.to_string());
        if let Some(reason) = &broken {
            tracing::warn!(%reason, "the model's chat template does not compile");
        }
        Self { environment, broken, bos, eos, source, notation, thoughts, knows_tools }
    }

    /// Why it cannot be used.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Renders with `context`, an object with `messages` and whatever else the request carries.
    pub(crate) fn render(&self, context: &Json) -> Result<String, TemplateError> {
        if let Some(reason) = &self.broken {
            return Err(TemplateError { reason: reason.clone() });
        }
        let template = self.environment.get_template(NAME).map_err(describe)?;
        let context = minijinja::context! {
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
            ..Value::from(Serde(context))
        };
        template.render(context).map_err(describe)
    }
}

fn describe(error: Error) -> TemplateError {
    let reason = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    TemplateError { reason }
}

fn raise_exception(reason: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, reason))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, jiff::Timestamp::now())
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// JSON as Python's `json.dumps` spaces it and without HTML escapes, which is what models saw when
/// they were trained.
fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent = options.get::<Option<usize>>("indent")?;
    // What else Python's takes (`ensure_ascii`, `separators`) asks for what is done anyway.
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let format = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, format))
        }
        None => {
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonFormat))
        }
    };
    written.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Value::from_safe_string(text))
}

struct PythonFormat;

impl Formatter for PythonFormat {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let template = ChatTemplate::new(Some(source.to_owned()), String::new(), String::new());
        let context = serde_json::json!({ "messages": [{ "role": "user", "content": "x" }] });
        template.render(&context.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_template_that_would_run_for_ever_or_fill_memory_is_broken_off() {
        const DOUBLING: &str = "{% set n = namespace(s='x') %}\
            {% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}";
        for source in [
            "{% for a in range(9999) %}{% for b in range(9999) %}{{ a * b }}{% endfor %}{% endfor %}",
            "{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}{{ again(0) }}",
            "{{ range(999999999999) | list | length }}",
            "{{ 'x' * 99999999999 }}",
            "{{ ('x' * 1000000) * 1000000 }}",
            "{{ [0] * 99999999999 }}",
            "{{ 'x' | center(99999999999) }}",
            "{{ 'x'.ljust(99999999999) }}",
            "{{ 'xx'.replace('x', 'x' * 1000000).replace('x', 'x' * 1000000) }}",
            DOUBLING,
        ] {
            let rendered = render(source);
            assert!(rendered.is_err(), "{source} made {} bytes", rendered.unwrap().len());
        }
    }

    #[test]
    fn a_template_reads_nothing_but_what_it_is_given() {
        for source in [
            "{% include '/etc/passwd' %}",
            "{% import '/etc/passwd' as x %}",
            "{% extends '/etc/passwd' %}",
            "{{ ''.__class__.__mro__ }}{{ x.y.z }}",
            "{{ self.__init__.__globals__['os'].popen('id').read() }}",
        ] {
            assert!(render(source).is_err(), "{source}");
        }
        assert_eq!(render("{{ environ }}{{ env }}{{ config }}").unwrap(), "");
    }

    fn render_with(source: &str, context: &str) -> String {
        let template = ChatTemplate::new(Some(source.to_owned()), String::new(), String::new());
        template.render(&serde_json::from_str(context).unwrap()).unwrap()
    }

    #[test]
    fn tools_are_shown_in_the_order_in_which_they_were_written() {
        let context =
            r#"{"tools":[{"type":"function","function":{"name":"f","description":"<b>"}}]}"#;
        assert_eq!(
            render_with("{% for tool in tools %}{{ tool | tojson }}{% endfor %}", context),
            r#"{"type": "function", "function": {"name": "f", "description": "<b>"}}"#
        );
        assert_eq!(
            render_with("{{ tools[0].function | tojson(indent=4) }}", context),
            "{\n    \"name\": \"f\",\n    \"description\": \"<b>\"\n}"
        );
    }

    #[test]
    fn calls_are_written_by_a_template_that_knows_them() {
        let source = "{% for m in messages %}{% for call in m.tool_calls %}<tool_call>{\"name\": \"{{ call.function.name }}\", \
             \"arguments\": {{ call.function.arguments | tojson }}}</tool_call>{% endfor %}{% endfor %}{{ tools }}";
        let context = r#"{"tools":null,"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"b":1,"a":[]}}}]}]}"#;
        let rendered = render_with(source, context);
        assert!(
            rendered.starts_with(
                r#"<tool_call>{"name": "f", "arguments": {"b": 1, "a": []}}</tool_call>"#
            ),
            "{rendered}"
        );
        let template = ChatTemplate::new(Some(source.to_owned()), String::new(), String::new());
        assert!(template.knows_tools && template.notation.opener() == "<tool_call>");
    }
}
