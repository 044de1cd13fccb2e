use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error, IgnoredAny},
};
use serde_json::value::RawValue;

use crate::KeepAlive;

/// The body of `POST /v1/jobs`. Work starts at once; the answer is a [`crate::JobCreated`].
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum JobRequest {
    /// `request` is the body of `POST /v1/chat/completions`, byte for byte; the events are its
    /// stream.
    ChatCompletion { request: Box<RawValue> },
    /// `request` is the body of `POST /v1/completions`.
    Completion { request: Box<RawValue> },
    /// Starts the hive, building it when it is stale, and replaces one that runs stale.
    HiveStart { alias: Option<String> },
    /// Stops the hive and its workers; `now` cuts the requests under way.
    HiveStop { alias: Option<String>, now: bool },
    /// Brings to another machine what its hive runs from, and starts nothing; its result is an
    /// [`crate::HiveInstalled`].
    HiveInstall { alias: Option<String> },
    /// Brings the hive, which is started if need be, and its workers up to date.
    HiveUpdate { alias: Option<String> },
    /// Stops a hive on another machine and removes it from there, its models only if `models`.
    HiveUninstall { alias: Option<String>, models: bool },
    /// Brings a model into a hive's store.
    ModelPull { hive: Option<String>, model: String },
    /// Loads a model in a hive, fetching it first if need be.
    ModelLoad {
        hive: Option<String>,
        model: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        keep_alive: Option<KeepAlive>,
    },
    /// Brings every level below the queen up to date; its result is an [`crate::HiveList`].
    ChainUpdate {},
}

const OPERATIONS: &[&str] = &[
    "chat_completion",
    "completion",
    "hive_start",
    "hive_stop",
    "model_pull",
    "model_load",
    "chain_update",
    "hive_install",
    "hive_update",
    "hive_uninstall",
];

impl JobRequest {
    /// The operation's name.
    pub fn operation(&self) -> &'static str {
        let place = match self {
            Self::ChatCompletion { .. } => 0,
            Self::Completion { .. } => 1,
            Self::HiveStart { .. } => 2,
            Self::HiveStop { .. } => 3,
            Self::ModelPull { .. } => 4,
            Self::ModelLoad { .. } => 5,
            Self::ChainUpdate {} => 6,
            Self::HiveInstall { .. } => 7,
            Self::HiveUpdate { .. } => 8,
            Self::HiveUninstall { .. } => 9,
        };
        OPERATIONS[place]
    }
}

impl<'de> Deserialize<'de> for JobRequest {
    /// Twice over the same text: serde's own way to read a tag first takes the rest apart, and a
    /// completion's body is to stay as it came.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Tag {
            operation: String,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Tag { operation } = read(&text)?;
        Ok(match operation.as_str() {
            "chat_completion" => {
                Self::ChatCompletion { request: read::<Request, _>(&text)?.request }
            }
            "completion" => Self::Completion { request: read::<Request, _>(&text)?.request },
            "hive_start" => Self::HiveStart { alias: read::<Start, _>(&text)?.alias },
            "hive_stop" => {
                let Stop { alias, now, .. } = read(&text)?;
                Self::HiveStop { alias, now }
            }
            "model_pull" => {
                let Pull { hive, model, .. } = read(&text)?;
                Self::ModelPull { hive, model }
            }
            "model_load" => {
                let Load { hive, model, keep_alive, .. } = read(&text)?;
                Self::ModelLoad { hive, model, keep_alive }
            }
            "chain_update" => {
                let Update { .. } = read(&text)?;
                Self::ChainUpdate {}
            }
            "hive_install" => Self::HiveInstall { alias: read::<Start, _>(&text)?.alias },
            "hive_update" => Self::HiveUpdate { alias: read::<Start, _>(&text)?.alias },
            "hive_uninstall" => {
                let Uninstall { alias, models, .. } = read(&text)?;
                Self::HiveUninstall { alias, models }
            }
            other => return Err(D::Error::unknown_variant(other, OPERATIONS)),
        })
    }
}

fn read<T: DeserializeOwned, E: Error>(text: &RawValue) -> Result<T, E> {
    serde_json::from_str(text.get()).map_err(E::custom)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
    request: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
    alias: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
    alias: Option<String>,
    #[serde(default)]
    now: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Uninstall {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
    alias: Option<String>,
    #[serde(default)]
    models: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pull {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
    hive: Option<String>,
    model: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
    hive: Option<String>,
    model: String,
    keep_alive: Option<KeepAlive>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(rename = "operation")]
    _operation: IgnoredAny,
}

#[cfg(test)]
mod tests {
    use super::{JobRequest, OPERATIONS};

    #[test]
    fn a_completion_s_body_stays_as_it_came() {
        let body = r#"{ "name": 1,  "age": [2, 1e0] }"#;
        for operation in ["chat_completion", "completion"] {
            for text in [
                format!(r#"{{"operation":"{operation}","request":{body}}}"#),
                format!(r#"{{"request":{body},"operation":"{operation}"}}"#),
            ] {
                let request: JobRequest = serde_json::from_str(&text).unwrap();
                assert_eq!(request.operation(), operation);
                let (JobRequest::ChatCompletion { request } | JobRequest::Completion { request }) =
                    request
                else {
                    panic!("{request:?}")
                };
                assert_eq!(request.get(), body);
            }
        }
    }

    #[test]
    fn every_operation_is_written_as_it_is_read() {
        for text in [
            r#"{"operation":"chat_completion","request":{"b":1,"a":2}}"#,
            r#"{"operation":"completion","request":{}}"#,
            r#"{"operation":"hive_start","alias":null}"#,
            r#"{"operation":"hive_stop","alias":"a","now":true}"#,
            r#"{"operation":"model_pull","hive":"a","model":"m"}"#,
            r#"{"operation":"model_load","hive":null,"model":"m"}"#,
            r#"{"operation":"model_load","hive":"a","model":"m","keep_alive":-1}"#,
            r#"{"operation":"chain_update"}"#,
            r#"{"operation":"hive_install","alias":"a"}"#,
            r#"{"operation":"hive_update","alias":null}"#,
            r#"{"operation":"hive_uninstall","alias":"a","models":true}"#,
        ] {
            let request: JobRequest = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert!(
                text.contains(request.operation()) && OPERATIONS.contains(&request.operation())
            );
        }
    }

    #[test]
    fn what_no_operation_takes_is_refused() {
        for text in [
            r#"{"operation":"dance"}"#,
            r#"{"operation":"chain_update","now":true}"#,
            r#"{"operation":"model_pull"}"#,
            r#"{"operation":"completion"}"#,
            r#"{"model":"m"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<JobRequest>(text).unwrap_err().is_data(), "{text}");
        }
    }
}
