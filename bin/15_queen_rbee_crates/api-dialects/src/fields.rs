use std::collections::BTreeMap;

use rbee_api::{ErrorBody, ErrorCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// JSON text that is passed on as it came.
pub(crate) type Raw = Box<RawValue>;

/// The members of a JSON object, each taken once. `null` is the same as nothing.
#[derive(Debug)]
pub(crate) struct Fields {
    /// What the names of its members begin with in refusals: `options.`.
    prefix: &'static str,
    members: BTreeMap<String, Raw>,
}

impl Fields {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ErrorBody> {
        serde_json::from_slice(body).map(|members| Self { prefix: "", members }).map_err(|error| {
            let code =
                if error.is_data() { ErrorCode::InvalidBody } else { ErrorCode::InvalidJson };
            ErrorBody::new(code, format!("the body is not a JSON object: {error}"))
        })
    }

    /// The members of that member, an object; none where there is no such member.
    pub(crate) fn object(
        &mut self,
        name: &'static str,
        prefix: &'static str,
    ) -> Result<Self, ErrorBody> {
        Ok(Self { prefix, members: self.take(name)?.unwrap_or_default() })
    }

    pub(crate) fn raw(&mut self, name: &str) -> Option<Raw> {
        self.members.remove(name).filter(|value| value.get() != "null")
    }

    /// The member as it came, which stays.
    pub(crate) fn peek(&self, name: &str) -> Option<Raw> {
        self.members.get(name).filter(|value| value.get() != "null").cloned()
    }

    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ErrorBody> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let name = self.full(name);
        let mut reader = serde_json::Deserializer::from_str(raw.get());
        serde_path_to_error::deserialize(&mut reader).map(Some).map_err(|error| {
            let path = error.path().to_string();
            let at = match path.as_str() {
                "." => name,
                path if path.starts_with('[') => format!("{name}{path}"),
                path => format!("{name}.{path}"),
            };
            // Where in its own text the member went wrong means nothing to who sent a whole body.
            let why = error.inner().to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            refusal(ErrorCode::InvalidType, &at, format!("`{at}` cannot be read: {why}"))
        })
    }

    pub(crate) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ErrorBody> {
        self.take(name)?.ok_or_else(|| missing(&self.full(name)))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, ErrorBody> {
        self.take(name)
    }

    /// Takes members that may have any value, since they change nothing of an answer.
    pub(crate) fn hints(&mut self, names: &[&str]) {
        for name in names {
            self.members.remove(*name);
        }
    }

    /// Refuses a member by its name, unless it says what happens anyway.
    pub(crate) fn refuse(
        &mut self,
        name: &str,
        usual: &[&str],
        why: &str,
    ) -> Result<(), ErrorBody> {
        match self.raw(name) {
            Some(value) if !usual.contains(&value.get()) => {
                let name = self.full(name);
                Err(unsupported(&name, format!("`{name}` is not supported: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// The names of the members that nobody has taken.
    pub(crate) fn rest(self) -> Vec<String> {
        let prefix = self.prefix;
        self.members.into_keys().map(|name| format!("{prefix}{name}")).collect()
    }

    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// A refusal because of the member at `at`.
pub(crate) fn refusal(code: ErrorCode, at: &str, message: impl Into<String>) -> ErrorBody {
    let mut body = ErrorBody::new(code, message);
    body.error.param = Some(at.to_owned());
    body
}

pub(crate) fn invalid(at: &str, message: impl Into<String>) -> ErrorBody {
    refusal(ErrorCode::InvalidValue, at, message)
}

pub(crate) fn unsupported(at: &str, message: impl Into<String>) -> ErrorBody {
    refusal(ErrorCode::UnsupportedParameter, at, message)
}

pub(crate) fn missing(at: &str) -> ErrorBody {
    refusal(ErrorCode::MissingParameter, at, format!("`{at}` is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_nobody_has_taken_is_listed_with_its_place() {
        let mut all = fields(r#"{"a":1,"b":null,"c":{"d":1,"e":2},"f":3}"#);
        let mut inner = all.object("c", "c.").unwrap();
        assert_eq!(inner.take::<u8>("d").unwrap(), Some(1));
        assert_eq!(inner.rest(), ["c.e"]);
        assert_eq!(all.take::<u8>("b").unwrap(), None);
        all.hints(&["f", "g"]);
        assert_eq!(all.rest(), ["a"]);
    }

    #[test]
    fn a_member_of_another_type_is_named_by_its_path() {
        let error = fields(r#"{"a":[[1],["x"]]}"#).take::<Vec<Vec<u8>>>("a").unwrap_err().error;
        assert_eq!((error.param.as_deref(), error.code), (Some("a[1][0]"), ErrorCode::InvalidType));
        assert!(!error.message.contains("line"), "{}", error.message);
    }

    #[test]
    fn what_is_not_supported_is_refused_unless_it_says_the_usual() {
        let body = r#"{"background":true,"store":false}"#;
        let error = fields(body).refuse("background", &["false"], "no").unwrap_err().error;
        assert_eq!(error.param.as_deref(), Some("background"));
        fields(body).refuse("store", &["false"], "no").unwrap();
        fields(body).refuse("other", &[], "no").unwrap();
    }

    #[test]
    fn a_body_that_is_no_object_is_told_from_one_that_is_no_json() {
        let code = |body: &[u8]| Fields::parse(body).unwrap_err().error.code;
        assert_eq!((code(b"[]"), code(b"{")), (ErrorCode::InvalidBody, ErrorCode::InvalidJson));
    }
}
