//! Rows into entities. A row that can't be read is a problem of that one entity, never an error of the whole read.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::model::{FORMAT_VERSION, Item, Kind, Problem};

use super::session::Record;
use super::statement::{Statements, snake, statements};
use super::table::Column;

/// The rows of one child table by their parent's id, without that id.
pub(super) type Family = HashMap<String, Vec<Record>>;

/// Sorts the rows of a child table, whose first column is the parent's id. Rows keep their order.
#[must_use]
pub(super) fn by_parent(records: Vec<Record>) -> Family {
    let mut family = Family::new();
    for mut record in records {
        if record.is_empty() {
            continue;
        }
        // A row whose parent can't be told belongs to nobody; the foreign key makes this impossible.
        if let Ok(Value::String(parent)) = record.remove(0) {
            family.entry(parent).or_default().push(record);
        }
    }
    family
}

/// Makes an entity of its row and of its children's rows (`families` in the order of the table's children).
pub(super) fn item(kind: Kind, mut record: Record, families: &mut [Family]) -> Result<Item, Problem> {
    let Statements { table, .. } = *statements(kind);
    let format = record.pop();
    let named = table.columns.iter().position(|column| column.field == kind.name_field());
    let name = named.and_then(|at| record.get(at)).and_then(|field| field.as_ref().ok()).and_then(Value::as_str);
    let path = format!("{}/{}", kind.plural(), name.unwrap_or("?"));
    let mut entity = object(table.columns, record, &path, table.name)?;
    check_format(format, &path, table.name)?;

    let id = entity.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (child, family) in table.children.iter().zip(families) {
        let rows = family.remove(&id).unwrap_or_default();
        let member = |(at, row)| object(child.columns, row, &format!("{path}/{}/{at}", child.field), child.name);
        let members: Result<Vec<Value>, Problem> =
            rows.into_iter().enumerate().map(|row| member(row).map(Value::Object)).collect();
        entity.insert(child.field.to_owned(), Value::Array(members?));
    }

    Item::from_json(kind, Value::Object(entity)).map_err(|problem| {
        let list = problem.path.split('/').nth(2);
        let child = table.children.iter().find(|child| Some(child.field) == list);
        let from = child.map_or(table.name, |child| child.name);
        Problem::new(problem.path, format!("{} (a row of {from})", problem.message))
    })
}

/// A row as a JSON object. NULLs stay out: then the model's default holds.
fn object(columns: &[Column], record: Record, path: &str, table: &str) -> Result<Map<String, Value>, Problem> {
    let mut object = Map::new();
    for (column, value) in columns.iter().zip(record) {
        match value {
            Ok(Value::Null) => {}
            Ok(value) => {
                object.insert(column.field.to_owned(), value);
            }
            Err(why) => {
                let message = format!("the column {} of {table} can't be read: {why}", snake(column.field));
                return Err(Problem::new(format!("{path}/{}", column.field), message));
            }
        }
    }
    Ok(object)
}

fn check_format(format: Option<Result<Value, String>>, path: &str, table: &str) -> Result<(), Problem> {
    let written = format.and_then(Result::ok).and_then(|format| format.as_i64()).unwrap_or(i64::MAX);
    if written <= i64::from(FORMAT_VERSION) {
        return Ok(());
    }
    let message = format!("a row of {table} is of format {written}, and this program reads up to {FORMAT_VERSION}");
    Err(Problem::new(path, message))
}
