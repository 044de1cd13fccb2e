//! `reasoning_effort` and `reasoning_format`.

use http_guard::ApiError;

use super::{error::invalid_value, fields::Fields};
use crate::json::Json;

const EFFORT: &str = "reasoning_effort";
const FORMAT: &str = "reasoning_format";
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
/// What templates call the switch.
const SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];

/// Whether thoughts are to stand apart from the answer, which they do unless it is asked otherwise.
pub(super) fn is_apart(fields: &Fields) -> Result<bool, ApiError> {
    match fields.get::<String>(FORMAT, "a string")?.as_deref() {
        None | Some("auto" | "deepseek") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => {
            let message =
                format!("`{FORMAT}` is `{other}`: there are `auto`, `deepseek` and `none`");
            Err(invalid_value(FORMAT, message))
        }
    }
}

/// Tells the template how much the model is to think, where it is not told already.
pub(super) fn tell(fields: &Fields, context: &mut Json) -> Result<(), ApiError> {
    let Some(effort) = fields.get::<String>(EFFORT, "a string")? else { return Ok(()) };
    if !EFFORTS.contains(&effort.as_str()) {
        let message = format!("`{EFFORT}` is `{effort}`: there are {}", EFFORTS.join(", "));
        return Err(invalid_value(EFFORT, message));
    }
    let mut tell = |name: &str, value: Json| {
        if context.get(name).is_none() {
            context.set(name, value);
        }
    };
    for switch in SWITCHES {
        tell(switch, Json::Bool(effort != "none"));
    }
    tell(EFFORT, Json::Text(effort));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str, context: &str) -> Result<String, ApiError> {
        let mut context = serde_json::from_str(context).unwrap();
        tell(&Fields::parse(body.as_bytes())?, &mut context)?;
        Ok(context.to_text())
    }

    #[test]
    fn a_template_is_told_of_the_effort_unless_it_is_told_otherwise() {
        for (body, context, wanted) in [
            ("{}", "{}", "{}"),
            (
                r#"{"reasoning_effort":"none"}"#,
                "{}",
                r#"{"enable_thinking":false,"thinking":false,"reasoning_effort":"none"}"#,
            ),
            (
                r#"{"reasoning_effort":"high"}"#,
                r#"{"enable_thinking":false}"#,
                r#"{"enable_thinking":false,"thinking":true,"reasoning_effort":"high"}"#,
            ),
        ] {
            assert_eq!(told(body, context).unwrap(), wanted);
        }
        assert!(told(r#"{"reasoning_effort":"very"}"#, "{}").is_err());
    }
}
