//! Reading documents that others wrote: any field may be missing or hold anything.

use serde_json::Value;

/// A text that is not empty.
pub(super) fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field)?.as_str().filter(|text| !text.is_empty())
}

pub(super) fn members<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of a list; what is none is passed over.
pub(super) fn texts<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v str> + Clone {
    members(value, field).iter().filter_map(Value::as_str)
}

pub(super) fn number(value: &Value, field: &str) -> Option<u64> {
    value.get(field)?.as_u64()
}

pub(super) fn flag(value: &Value, field: &str) -> Option<bool> {
    value.get(field)?.as_bool()
}

/// The fields of an object with their names.
pub(super) fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, field)| (name.as_str(), field))
}

/// Null, and what holds nothing: nothing is lost with it.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(members) => members.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
