use std::{collections::BTreeMap, fs, io, path::PathBuf, sync::Arc};

use rbee_api::ModelSettings;
use serde_json::{Value, json, value::RawValue};

/// Names of one thing: a request that has it by one of them is not given it by another.
const SAME: [&[&str]; 2] =
    [&["repeat_penalty", "repetition_penalty"], &["max_tokens", "max_completion_tokens"]];

const MESSAGES: &str = "messages";
const EFFORT: &str = "reasoning_effort";
const TEMPLATE_MEMBERS: &str = "chat_template_kwargs";
/// What says to a template how much to think.
const THINKING: [&str; 3] = ["enable_thinking", "thinking", EFFORT];

/// What a request's members become whose sender says nothing of them.
#[derive(Debug, Clone, Default)]
pub struct Defaults(Arc<ModelSettings>);

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// An answer to a chat.
    Chat,
    /// A text that goes on.
    Completion,
    /// What a chat is as a prompt.
    Prompt,
}

/// Why the file that `--settings` names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read the settings in `{path}`", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("what is in `{path}` is no model's settings", path = path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
}

impl Defaults {
    pub fn new(settings: ModelSettings) -> Self {
        Self(Arc::new(settings))
    }

    /// From the file that whoever starts the worker has written; none without a path.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no such file.
    pub fn read(path: Option<PathBuf>) -> Result<Self, SettingsError> {
        let Some(path) = path else { return Ok(Self::default()) };
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(settings) => Ok(Self::new(settings)),
                Err(source) => Err(SettingsError::Malformed { path, source }),
            },
            Err(source) => Err(SettingsError::Read { path, source }),
        }
    }

    pub fn settings(&self) -> &ModelSettings {
        &self.0
    }

    /// Adds what the request lacks; gives the names of the members that are new.
    ///
    /// What is malformed is left for whoever reads it.
    pub fn fill(&self, request: &mut BTreeMap<String, Box<RawValue>>, asked: Asked) -> Vec<&str> {
        if asked != Asked::Completion
            && let Some(system) = &self.0.system
            && let Some(messages) = request.get(MESSAGES).and_then(|it| with_system(it, system))
        {
            request.insert(MESSAGES.to_owned(), messages);
        }
        let mut added = Vec::new();
        for (name, value) in &self.0.members {
            let is_for_chats = name == EFFORT;
            let is_wanted = match asked {
                Asked::Chat => true,
                Asked::Completion => !is_for_chats,
                Asked::Prompt => is_for_chats,
            };
            if is_wanted
                && !says(request, name)
                && let Ok(value) = serde_json::value::to_raw_value(value)
            {
                request.insert(name.clone(), value);
                added.push(name.as_str());
            }
        }
        added
    }
}

/// Whether the request says something of that, by whichever name. What is null says nothing.
fn says(request: &BTreeMap<String, Box<RawValue>>, name: &str) -> bool {
    let has = |name: &str| request.get(name).is_some_and(|value| value.get() != "null");
    let same = SAME.iter().find(|names| names.contains(&name));
    if has(name) || same.is_some_and(|names| names.iter().any(|name| has(name))) {
        return true;
    }
    let members = request.get(TEMPLATE_MEMBERS).filter(|_| name == EFFORT);
    let members = members.and_then(|members| serde_json::from_str::<Value>(members.get()).ok());
    members.is_some_and(|members| THINKING.iter().any(|name| members.get(name).is_some()))
}

/// The messages with `system` before them, where they are such and none of them says that.
fn with_system(messages: &RawValue, system: &str) -> Option<Box<RawValue>> {
    let mut messages: Vec<Box<RawValue>> = serde_json::from_str(messages.get()).ok()?;
    let says_it = |message: &RawValue| {
        let message: Value = serde_json::from_str(message.get()).unwrap_or_default();
        matches!(message.get("role").and_then(Value::as_str), Some("system" | "developer"))
    };
    if messages.is_empty() || messages.iter().any(|message| says_it(message)) {
        return None;
    }
    let first = json!({ "role": "system", "content": system });
    messages.insert(0, serde_json::value::to_raw_value(&first).ok()?);
    serde_json::value::to_raw_value(&messages).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(asked: Asked, request: &str) -> String {
        let settings = r#"{"system":"Be brief.","members":{"max_tokens":9,"reasoning_effort":"none",
            "repeat_penalty":1.1,"stop":["x"],"temperature":0.2}}"#;
        let defaults = Defaults::new(serde_json::from_str(settings).unwrap());
        let mut request = serde_json::from_str(request).unwrap();
        defaults.fill(&mut request, asked);
        serde_json::to_string(&request).unwrap()
    }

    #[test]
    fn a_request_is_given_what_it_says_nothing_of() {
        let all = r#"{"max_tokens":9,"reasoning_effort":"none","repeat_penalty":1.1,"stop":["x"],"temperature":0.2}"#;
        assert_eq!(filled(Asked::Chat, "{}"), all);
        let nulls = r#"{"max_tokens":null,"temperature":null,"stop":null}"#;
        assert_eq!(filled(Asked::Chat, nulls), all);
        assert_eq!(
            filled(Asked::Completion, "{}"),
            all.replace(r#""reasoning_effort":"none","#, "")
        );
        assert_eq!(filled(Asked::Prompt, "{}"), r#"{"reasoning_effort":"none"}"#);
        let own = r#"{"max_tokens":1,"reasoning_effort":"low","repeat_penalty":1,"stop":[],"temperature":0}"#;
        assert_eq!(filled(Asked::Chat, own), own);
    }

    #[test]
    fn what_a_request_says_by_another_name_is_said() {
        for (said, name) in [
            (r#""max_completion_tokens":3"#, "\"max_tokens\""),
            (r#""repetition_penalty":1.5"#, "\"repeat_penalty\""),
            (r#""chat_template_kwargs":{"enable_thinking":true}"#, "\"reasoning_effort\""),
            (r#""chat_template_kwargs":{"thinking":false}"#, "\"reasoning_effort\""),
        ] {
            let request = filled(Asked::Chat, &format!("{{{said}}}"));
            assert!(request.contains(said) && !request.contains(name), "{request}");
        }
        let request = filled(Asked::Chat, r#"{"chat_template_kwargs":{"documents":[]}}"#);
        assert!(request.contains(r#""reasoning_effort":"none""#), "{request}");
    }

    #[test]
    fn a_chat_without_a_system_message_is_given_one() {
        let user = r#"{"role":"user","content":"Hi"}"#;
        let given = r#"{"role":"system","content":"Be brief."}"#;
        let messages = |asked, messages: &str| {
            let request = filled(asked, &format!(r#"{{"messages":{messages}}}"#));
            let request: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&request).unwrap();
            request["messages"].get().to_owned()
        };
        for asked in [Asked::Chat, Asked::Prompt] {
            assert_eq!(messages(asked, &format!("[{user}]")), format!("[{given},{user}]"));
        }
        for role in ["system", "developer"] {
            let own = format!(r#"[{user},{{"role":"{role}","content":"Be long."}}]"#);
            assert_eq!(messages(Asked::Chat, &own), own);
        }
        for odd in ["[]", "3", r#"{"role":"user"}"#] {
            assert_eq!(messages(Asked::Chat, odd), odd);
        }
    }

    #[test]
    fn settings_that_cannot_be_read_are_named() {
        assert!(Defaults::read(None).unwrap().settings().is_empty());
        let absent = Defaults::read(Some("/not/there.json".into())).unwrap_err();
        assert!(absent.to_string().contains("/not/there.json"), "{absent}");
    }
}
