//! Writing the configuration in a transaction that holds the head's lock.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::{FORMAT_VERSION, Item, Kind, Problem};

use super::session::{Cell, Record, Session};
use super::statement::{ChildStatements, Statements, statements};
use super::table::{Column, Holds};
use super::{NewGeneration, Result, StoreError};

const WRITE_GENERATION: &str = "INSERT INTO config_generation \
    (number, created_at, actor, summary, digest, format_version, changes, touched) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const MOVE_HEAD: &str = "UPDATE config_head SET generation = $1, digest = $2, format_version = $3 WHERE id = 1";

pub(super) async fn put(session: &mut dyn Session, item: &Item) -> Result<()> {
    let known = statements(item.kind());
    let entity = item.to_json();
    let path = format!("{}/{}", item.kind().plural(), item.name());
    let mut cells = cells(known.table.columns, &entity, &path)?;
    cells.push(Cell::Integer(Some(i64::from(FORMAT_VERSION))));
    session.execute(&known.upsert, cells).await?;
    put_children(session, known, &entity, &path).await
}

/// Rows that stay as they are keep their place; changed ones are taken out before any is put in, so that two members may
/// swap their names.
async fn put_children(session: &mut dyn Session, known: &'static Statements, entity: &Value, path: &str) -> Result<()> {
    let id = entity.get("id");
    for child in &known.children {
        let parent = cell(id, Holds::Id, path)?;
        let members = entity.get(child.table.field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut stored = stored(session, child, parent.clone()).await?;
        let mut changed = Vec::new();
        for (position, member) in members.iter().enumerate() {
            let member_id = member.get("id").and_then(Value::as_str).unwrap_or_default();
            match stored.remove(member_id) {
                Some(row) if is_same(child, &row, member, position) => {}
                Some(row) => {
                    stored.insert(member_id.to_owned(), row);
                    changed.push((position, member));
                }
                None => changed.push((position, member)),
            }
        }
        for id in stored.keys() {
            let id = Value::String(id.clone());
            session.execute(&child.delete, vec![cell(Some(&id), Holds::Id, path)?]).await?;
        }
        for (position, member) in changed {
            let path = format!("{path}/{}/{position}", child.table.field);
            let mut values = vec![parent.clone(), Cell::Integer(i64::try_from(position).ok())];
            values.extend(cells(child.table.columns, member, &path)?);
            session.execute(&child.insert, values).await?;
        }
    }
    Ok(())
}

/// The rows that a parent has, by their ids. If one can't be read, all of them go: the entity is about to replace them.
async fn stored(
    session: &mut dyn Session,
    child: &'static ChildStatements,
    parent: Cell,
) -> Result<HashMap<String, Record>> {
    let rows = session.fetch(&child.of_one, vec![parent.clone()], &child.shape_of_one).await?;
    if rows.iter().flatten().any(Result::is_err) {
        session.execute(&child.clear, vec![parent]).await?;
        return Ok(HashMap::new());
    }
    // Columns: the parent, the row's id, the rest.
    let id = |row: &Record| row.get(1).and_then(|id| id.as_ref().ok()).and_then(Value::as_str).map(str::to_owned);
    Ok(rows.into_iter().filter_map(|row| id(&row).map(|id| (id, row))).collect())
}

fn is_same(child: &ChildStatements, row: &Record, member: &Value, position: usize) -> bool {
    let mut fields = row.iter().skip(1);
    let same = |column: &Column, field: Option<&Result<Value, String>>| {
        field.and_then(|field| field.as_ref().ok()) == Some(member.get(column.field).unwrap_or(&Value::Null))
    };
    let columns = child.table.columns.iter().all(|column| same(column, fields.next()));
    let stands = fields.next().and_then(|field| field.as_ref().ok()).and_then(Value::as_u64);
    columns && stands == u64::try_from(position).ok()
}

pub(super) async fn delete(session: &mut dyn Session, kind: Kind, name: &str) -> Result<()> {
    session.execute(&statements(kind).delete, vec![Cell::text(name)]).await.map(drop)
}

/// Writes the history's row and, last of all, moves the head.
pub(super) async fn generation(session: &mut dyn Session, new: &NewGeneration) -> Result<i64> {
    let number =
        i64::try_from(new.number).map_err(|_| StoreError::Refused("the generation is too large".to_owned()))?;
    let format = Cell::Integer(Some(i64::from(FORMAT_VERSION)));
    let touched: Vec<(Kind, &str)> = new.changes.iter().map(|change| (change.kind, change.name.as_str())).collect();
    let digest = Cell::text(new.digest.to_string());
    let cells = vec![
        Cell::Integer(Some(number)),
        Cell::Integer(Some(new.created_at.micros())),
        Cell::text(new.actor.replace('\0', "")),
        Cell::text(new.summary.replace('\0', "")),
        digest.clone(),
        format.clone(),
        json("changes", &new.changes)?,
        json("touched", &touched)?,
    ];
    session.execute(WRITE_GENERATION, cells).await?;
    session.execute(MOVE_HEAD, vec![Cell::Integer(Some(number)), digest, format]).await?;
    Ok(number)
}

/// JSON as it is bound; `what` names it if it can't be stored.
pub(super) fn json(what: &str, value: &impl serde::Serialize) -> Result<Cell> {
    let value = serde_json::to_value(value).map_err(|error| StoreError::Refused(error.to_string()))?;
    cell(Some(&value), Holds::Json, what)
}

fn cells(columns: &[Column], entity: &Value, path: &str) -> Result<Vec<Cell>> {
    columns
        .iter()
        .map(|column| cell(entity.get(column.field), column.holds, &format!("{path}/{}", column.field)))
        .collect()
}

fn cell(value: Option<&Value>, holds: Holds, path: &str) -> Result<Cell> {
    Cell::of(value, holds).map_err(|why| StoreError::Spoilt(Problem::new(path, why)))
}
