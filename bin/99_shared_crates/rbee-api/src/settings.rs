use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a worker is told of its model beside its flags, by whoever starts it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// What a chat begins with that has no system message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// How a chat is written down; `None`: as the model's file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<TemplateSetting>,
    /// Members of requests, for those that have none of that name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateSetting {
    /// Jinja.
    Text(String),
    /// One that the worker or the model's file has by that name.
    Named(String),
}

impl ModelSettings {
    /// Whether everything is as the model and its worker have it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
