//! What the derived schemas get wrong or can't say, put right in all of them at once.

use serde_json::{Map, Value, json};

/// The largest number that can be kept: both databases have signed columns.
const LARGEST: u64 = i64::MAX.cast_unsigned();

/// The format that is derived for unsigned numbers, its name in the registry of formats, and its largest value.
const UNSIGNED: [(&str, &str, u64); 4] = [
    ("u-int8", "uint8", u8::MAX as u64),
    ("u-int16", "uint16", u16::MAX as u64),
    ("u-int32", "uint32", u32::MAX as u64),
    ("u-int64", "uint64", LARGEST),
];

/// Fields that mean the same wherever they stand.
const COMMON: [(&str, &str); 23] = [
    ("id", "Given by Gatehouse"),
    ("name", "Its name"),
    ("description", "In words, for people"),
    ("createdAt", "When it was made"),
    ("updatedAt", "When it was changed last"),
    ("at", "When"),
    ("actor", "Who did it"),
    ("address", "The client's address"),
    ("requestId", "As in the header X-Request-Id, and in the log"),
    ("summary", "In a few words"),
    ("generation", "The number of the generation"),
    ("number", "The number of the generation"),
    ("changes", "Of one entity each"),
    ("before", "The whole as it was; null where there was nothing"),
    ("after", "The whole as it is then; null where it is gone"),
    ("value", "The whole of it"),
    ("method", "Of the request"),
    ("host", "Of the request, without the port"),
    ("path", "Of the request"),
    ("route", "The name of the route"),
    ("service", "The name of the service"),
    ("version", "The version of the service"),
    ("queue", "The name of the queue"),
];

/// Fields that hold a moment, beside all those whose names end in `At`.
const MOMENTS: [&str; 3] = ["at", "timestamp", "lastSeen"];

/// A schema, and a property of it that is kept but never shown.
const HIDDEN: [(&str, &str); 1] = [("ApiKey", "apiKeyHash")];

pub(super) fn tidy(document: &mut Value) {
    if let Some(paths) = document.get_mut("paths") {
        join(paths);
    }
    let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") else { return };
    for (schema, property) in HIDDEN {
        if let Some(Value::Object(properties)) = schemas.get_mut(schema).and_then(|it| it.get_mut("properties")) {
            properties.remove(property);
        }
    }
    for schema in schemas.values_mut() {
        walk(schema);
    }
}

/// A reference together with what is required beyond it becomes one schema: 3.1 lets keywords stand beside `$ref`, the builder does
/// not.
fn join(value: &mut Value) {
    if let Some(parts) = value.get("allOf").and_then(Value::as_array)
        && let [reference, more] = parts.as_slice()
        && let (Some(reference), Some(required)) = (reference.get("$ref"), more.get("required"))
        && more.get("properties").is_none()
    {
        *value = json!({"$ref": reference, "required": required});
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(join),
        Value::Array(items) => items.iter_mut().for_each(join),
        _ => {}
    }
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            bound(fields);
            forget_meaningless_default(fields);
            let named = ["properties", "example", "examples", "default", "enum"];
            for (keyword, value) in fields.iter_mut() {
                match (keyword.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        for (field, schema) in properties {
                            name(field, schema);
                            walk(schema);
                        }
                    }
                    (keyword, value) if !named.contains(&keyword) => walk(value),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        _ => {}
    }
}

/// Says how large an unsigned number may be, where the type says so alone.
fn bound(schema: &mut Map<String, Value>) {
    let format = schema.get("format").and_then(Value::as_str);
    let found = UNSIGNED.iter().find(|(derived, ..)| Some(*derived) == format);
    if let Some((_, registered, largest)) = found {
        schema.insert("format".to_owned(), (*registered).into());
        schema.entry("maximum").or_insert((*largest).into());
    }
}

/// What the name of a field says of it.
fn name(field: &str, schema: &mut Value) {
    let Some(schema) = schema.as_object_mut().filter(|schema| !schema.contains_key("$ref")) else { return };
    if let Some((_, about)) = COMMON.iter().find(|(common, _)| *common == field) {
        schema.entry("description").or_insert((*about).into());
    }
    let is_text = schema
        .get("type")
        .is_some_and(|kind| kind == "string" || kind.as_array().is_some_and(|it| it.contains(&"string".into())));
    if is_text && (field.ends_with("At") || MOMENTS.contains(&field)) {
        schema.entry("format").or_insert("date-time".into());
    }
}

/// What is given by the store has no default, and neither has what must be said although its type has an empty value.
fn forget_meaningless_default(schema: &mut Map<String, Value>) {
    // The derive marks the items of a list that can't be written, rather than the list.
    let items_are_read_only =
        schema.get_mut("items").and_then(Value::as_object_mut).and_then(|it| it.remove("readOnly"));
    if let Some(mark) = items_are_read_only {
        schema.insert("readOnly".to_owned(), mark);
    }
    let is_read_only = schema.get("readOnly").is_some_and(|it| it == true);
    let is_empty = match schema.get("default") {
        Some(Value::String(text)) => {
            text.is_empty() && (schema.contains_key("pattern") || schema.contains_key("minLength"))
        }
        Some(Value::Object(fields)) => fields.get("service").is_some_and(|name| name == ""),
        _ => false,
    };
    if is_read_only || is_empty {
        schema.remove("default");
    }
}
