//! The fields of a JSON body, read one by one so that an error can name its field.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
};

use http_guard::ApiError;
use rbee_api::ErrorCode;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use worker_service::{Asked, Defaults};

use super::error::invalid_value;

/// A JSON object whose values are not parsed yet.
///
/// Fields that nobody asks for have no effect, as OpenAI's servers ignore what they do not know; which
/// those are can be told.
#[derive(Debug)]
pub(super) struct Fields(HashMap<String, Field>);

#[derive(Debug)]
struct Field {
    value: Box<RawValue>,
    /// Whether somebody has asked for it.
    is_read: Cell<bool>,
}

impl From<Box<RawValue>> for Field {
    fn from(value: Box<RawValue>) -> Self {
        Self { value, is_read: Cell::new(false) }
    }
}

impl Fields {
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::new(
                ErrorCode::InvalidJson,
                "the body is empty: send a JSON object",
            ));
        }
        let fields = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(body);
        let fields = fields.map_err(|error| {
            let code =
                if error.is_data() { ErrorCode::InvalidBody } else { ErrorCode::InvalidJson };
            ApiError::new(code, format!("the body is not a JSON object: {error}"))
        })?;
        Ok(Self::of(fields))
    }

    /// The same with what it says nothing of.
    pub(super) fn parse_with(
        body: &[u8],
        defaults: &Defaults,
        asked: Asked,
    ) -> Result<Self, ApiError> {
        let mut fields = Self::parse(body)?;
        let values = fields.0.drain().map(|(name, field)| (name, field.value));
        let mut values = values.collect();
        let added = defaults.fill(&mut values, asked);
        let fields = Self::of(values);
        // The client is not told of what it has not sent.
        for name in added {
            fields.raw(name);
        }
        Ok(fields)
    }

    fn of(values: BTreeMap<String, Box<RawValue>>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name, value.into())).collect())
    }

    /// As [`Self::raw`], and nothing is noted as read.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|field| field.value.get())
    }

    /// The field's JSON text; `None` when it is absent or null.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        let field = self.0.get(name)?;
        field.is_read.set(true);
        Some(field.value.get()).filter(|text| *text != "null")
    }

    /// The names of the fields that nobody has asked for, in their order; what is null is absent.
    pub(super) fn unread(&self) -> Vec<String> {
        let unread =
            self.0.iter().filter(|(_, field)| !field.is_read.get() && field.value.get() != "null");
        let mut names: Vec<_> = unread.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The field's value; `None` when it is absent or null. `what` completes "must be".
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(text) {
            Ok(value) => Ok(Some(value)),
            Err(_) => {
                Err(ApiError::new(ErrorCode::InvalidType, format!("`{name}` must be {what}"))
                    .param(name))
            }
        }
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.get(name, "true or false")?.unwrap_or(false))
    }

    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get::<f32>(name, "a number")? else { return Ok(None) };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let (from, to) = range.into_inner();
        Err(invalid_value(name, format!("`{name}` must be from {from} to {to}, not {value}")))
    }

    /// A whole number; Python clients also write it as `3.0`.
    pub(super) fn integer(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let value = match self.get::<i64>(name, "a whole number") {
            Ok(None) => return Ok(None),
            Ok(Some(value)) => value,
            Err(error) => match self.get::<f64>(name, "a whole number") {
                // Beyond 2^53 a float names no whole number exactly.
                Ok(Some(float)) if float.fract() == 0.0 && float.abs() < 9e15 => float as i64,
                _ => return Err(error),
            },
        };
        if range.contains(&value) {
            return Ok(Some(value));
        }
        let (from, to) = range.into_inner();
        let allowed =
            if to == i64::MAX { format!("{from} or more") } else { format!("from {from} to {to}") };
        Err(invalid_value(name, format!("`{name}` must be {allowed}, not {value}")))
    }
}
