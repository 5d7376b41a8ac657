//! Reading members of a request. A member of the wrong JSON type is refused as AWS's deserializer refuses it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::errors::{invalid, serialization};
use crate::ports::AwsError;

/// The members of one request or of one structure in it.
#[derive(Clone, Copy)]
pub(super) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    pub(super) fn of(map: &'a Map<String, Value>) -> Self {
        Self(map)
    }

    pub(super) fn request(input: &'a Value) -> Result<Self, AwsError> {
        input
            .as_object()
            .map(Self)
            .ok_or_else(|| serialization("Start of structure or map found where not expected."))
    }

    /// The member, with an explicit `null` counting as absent.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn typed<T>(
        self,
        name: &str,
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, AwsError> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| serialization(format!("member {name}: expected {wanted}, got {value}"))),
        }
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, AwsError> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(super) fn required_text(self, name: &str) -> Result<&'a str, AwsError> {
        self.text(name)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| invalid(format!("{name} can not be blank.")))
    }

    pub(super) fn flag(self, name: &str) -> Result<bool, AwsError> {
        Ok(self.typed(name, "a boolean", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn optional_flag(self, name: &str) -> Result<Option<bool>, AwsError> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    pub(super) fn integer(self, name: &str) -> Result<Option<i64>, AwsError> {
        self.typed(name, "an integer", Value::as_i64)
    }

    pub(super) fn double(self, name: &str) -> Result<Option<f64>, AwsError> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(super) fn list(self, name: &str) -> Result<Option<&'a Vec<Value>>, AwsError> {
        self.typed(name, "a list", Value::as_array)
    }

    pub(super) fn structure(self, name: &str) -> Result<Option<Members<'a>>, AwsError> {
        Ok(self.typed(name, "a structure", Value::as_object)?.map(Members))
    }

    pub(super) fn map(self, name: &str) -> Result<Option<&'a Map<String, Value>>, AwsError> {
        self.typed(name, "a structure", Value::as_object)
    }

    pub(super) fn structures(self, name: &str) -> Result<Vec<Members<'a>>, AwsError> {
        self.list(name)?
            .into_iter()
            .flatten()
            .map(|item| item.as_object().map(Members))
            .collect::<Option<_>>()
            .ok_or_else(|| serialization(format!("member {name}: expected a list of structures")))
    }

    pub(super) fn texts(self, name: &str) -> Result<Vec<&'a str>, AwsError> {
        self.list(name)?
            .into_iter()
            .flatten()
            .map(Value::as_str)
            .collect::<Option<_>>()
            .ok_or_else(|| serialization(format!("member {name}: expected a list of strings")))
    }

    pub(super) fn timestamp(self, name: &str) -> Result<Option<Timestamp>, AwsError> {
        let Some(seconds) = self.double(name)? else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "milliseconds of any date fit; others saturate")]
        let millis = (seconds * 1000.0) as i64;
        Timestamp::from_millisecond(millis)
            .map(Some)
            .map_err(|error| serialization(format!("member {name}: not a timestamp: {error}")))
    }

    pub(super) fn includes(self, what: &str) -> Result<bool, AwsError> {
        Ok(self.texts("include")?.contains(&what))
    }
}

/// A timestamp as awsJson1.1 writes it: seconds since the epoch, with fractions.
pub(super) fn epoch(at: Timestamp) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53 for the next 280 000 years")]
    let seconds = at.as_millisecond() as f64 / 1000.0;
    Value::from(seconds)
}

/// One page of a listing, and the token of the next one.
pub(super) fn page<T>(
    input: Members<'_>,
    items: Vec<T>,
    default_size: usize,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let size = match input.integer("maxResults")? {
        None => default_size,
        Some(size @ 1..=100) => usize::try_from(size).unwrap_or(default_size),
        Some(_) => return Err(invalid("maxResults must be between 1 and 100")),
    };
    let start = match input.text("nextToken")? {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|offset| offset.parse::<usize>().ok())
            .ok_or_else(|| invalid("Invalid token."))?,
    };
    let end = start.saturating_add(size);
    let next = (items.len() > end).then(|| format!("page-{end}"));
    Ok((items.into_iter().skip(start).take(size).collect(), next))
}
