//! `tools`, `tool_choice` and `parallel_tool_calls`.

use std::collections::HashSet;

use http_guard::ApiError;
use rbee_api::ErrorCode;

use super::{
    error::{invalid_value, unsupported},
    fields::Fields,
    schema,
};
use crate::{
    json::Json,
    tools::{self, Notation, Tool},
};

const FIELD: &str = "tools";
const CHOICE: &str = "tool_choice";
const TOOLS_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 64;

/// What a request says of tools.
#[derive(Debug, Default)]
pub(super) struct Tools {
    /// As the client wrote them, for the template. Empty where the model must call none.
    pub(super) shown: Vec<Json>,
    pub(super) tools: Vec<Tool>,
    choice: Choice,
    parallel: bool,
}

/// What holds an answer to the tools.
#[derive(Debug)]
pub(super) enum Constraint {
    /// A grammar of all of it.
    Whole(String),
    /// A grammar of what comes behind each `opener`.
    Opened { grammar: String, opener: &'static str },
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Choice {
    #[default]
    None,
    Auto,
    Required,
    /// This one is called.
    One(String),
}

impl Tools {
    pub(super) fn read(fields: &Fields) -> Result<Self, ApiError> {
        refuse_functions(fields)?;
        let shown = fields.get::<Vec<Json>>(FIELD, "an array of tools")?.unwrap_or_default();
        let parallel = fields.get::<bool>("parallel_tool_calls", "true or false")?.unwrap_or(true);
        if shown.len() > TOOLS_MAX {
            let message = format!("there may be {TOOLS_MAX} tools, not {}", shown.len());
            return Err(invalid_value(FIELD, message));
        }
        let mut names = HashSet::new();
        let tools =
            shown.iter().enumerate().map(|(index, tool)| read_tool(index, tool, &mut names));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        match choice(fields, &tools)? {
            Choice::None => Ok(Self::default()),
            choice => Ok(Self { shown, tools, choice, parallel }),
        }
    }

    /// What holds the answer to the tools. Where it must be calls, nothing else can: `is_held` says
    /// whether something does. Where it may have calls, their schemas hold these as far as they can.
    pub(super) fn constraint(
        &self,
        notation: Notation,
        is_held: bool,
    ) -> Result<Option<Constraint>, ApiError> {
        let called: Vec<_> = match &self.choice {
            Choice::None => return Ok(None),
            Choice::Auto | Choice::Required => self.tools.iter().collect(),
            Choice::One(name) => self.tools.iter().filter(|tool| tool.name == *name).collect(),
        };
        let one = matches!(self.choice, Choice::One(_)) || !self.parallel;
        let convert = |wanted: &Json| schema::convert(&wanted.to_text(), FIELD);
        if self.choice == Choice::Auto {
            let opened = match is_held {
                true => None,
                false => tools::of_opened(notation, &called, !one, convert).ok().flatten(),
            };
            let opener = notation.opener();
            return Ok(opened.map(|grammar| Constraint::Opened { grammar, opener }));
        }
        if is_held {
            let message = "an answer that must be a call cannot have another form";
            return Err(invalid_value(CHOICE, message));
        }
        Ok(Some(Constraint::Whole(tools::of_calls(notation, &called, !one, convert)?)))
    }

    /// Whether the answer may have calls.
    pub(super) fn any(&self) -> bool {
        !self.tools.is_empty()
    }
}

fn read_tool(index: usize, tool: &Json, names: &mut HashSet<String>) -> Result<Tool, ApiError> {
    let at = format!("{FIELD}[{index}]");
    match tool.get("type").and_then(Json::as_str) {
        Some("function") => {}
        Some(kind) => {
            let message =
                format!("`{at}` is a `{kind}`: the worker knows tools of type `function`");
            return Err(unsupported(&at, message));
        }
        None => {
            let message = format!("`{at}` must be an object with a `type`");
            return Err(ApiError::new(ErrorCode::InvalidType, message).param(&at));
        }
    }
    let function = tool.get("function").unwrap_or(&Json::Null);
    let at = format!("{at}.function");
    let Some(name) = function.get("name").and_then(Json::as_str) else {
        let message = format!("`{at}.name` is missing");
        return Err(ApiError::new(ErrorCode::MissingParameter, message).param(format!("{at}.name")));
    };
    let usual = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.' | ':');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(usual) {
        let message = format!(
            "`{at}.name` must have 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-`, `.` or `:`"
        );
        return Err(invalid_value(&format!("{at}.name"), message));
    }
    if !names.insert(name.to_owned()) {
        return Err(invalid_value(&format!("{at}.name"), format!("there are two tools `{name}`")));
    }
    let parameters = function.get("parameters").filter(|schema| !schema.is_null());
    if parameters.is_some_and(|schema| !matches!(schema, Json::Object(_))) {
        let message = format!("`{at}.parameters` must be a JSON schema");
        return Err(
            ApiError::new(ErrorCode::InvalidType, message).param(format!("{at}.parameters"))
        );
    }
    if let (Some(Json::Bool(true)), Some(parameters)) = (function.get("strict"), parameters) {
        drop(schema::convert_all(&parameters.to_text(), &format!("{at}.parameters"))?);
    }
    Ok(Tool { name: name.to_owned(), parameters: parameters.cloned() })
}

fn choice(fields: &Fields, tools: &[Tool]) -> Result<Choice, ApiError> {
    let Some(choice) = fields.get::<Json>(CHOICE, "a string or an object")? else {
        return Ok(if tools.is_empty() { Choice::None } else { Choice::Auto });
    };
    let kind = choice.get("type").unwrap_or(&choice).as_str().unwrap_or_default();
    let chosen = match kind {
        "none" => Choice::None,
        "auto" if tools.is_empty() => Choice::None,
        "auto" => Choice::Auto,
        "required" => Choice::Required,
        "function" => {
            let name = choice.get("function").and_then(|function| function.get("name"));
            let Some(name) = name.and_then(Json::as_str) else {
                return Err(invalid_value(CHOICE, "`tool_choice.function.name` is missing"));
            };
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(invalid_value(CHOICE, format!("there is no tool `{name}`")));
            }
            Choice::One(name.to_owned())
        }
        _ => {
            let message = "`tool_choice` must be `none`, `auto`, `required`, or name a function";
            return Err(invalid_value(CHOICE, message));
        }
    };
    if chosen == Choice::Required && tools.is_empty() {
        return Err(invalid_value(CHOICE, "`required` needs `tools`"));
    }
    Ok(chosen)
}

/// What tools were called before there were others than functions.
fn refuse_functions(fields: &Fields) -> Result<(), ApiError> {
    let forbidden = fields.raw("function_call").is_some_and(|choice| choice == "\"none\"");
    let functions = fields.get::<Vec<Json>>("functions", "an array")?.unwrap_or_default();
    if functions.is_empty() || forbidden {
        return Ok(());
    }
    Err(unsupported("functions", "the worker reads `tools`: write `functions` as those"))
}
