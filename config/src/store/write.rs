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
    session.execute(&known.upsert, row(known, &entity, &path)?).await?;
    put_children(session, known, &entity, &path).await
}

/// The entity's own row, as the `upsert` statement takes it.
pub(super) fn row(known: &Statements, entity: &Value, path: &str) -> Result<Vec<Cell>> {
    let mut cells = cells(known.table.columns, entity, path)?;
    cells.push(Cell::Integer(Some(i64::from(FORMAT_VERSION))));
    Ok(cells)
}

/// Changed rows are taken out before any is put in, so that two members may swap their names.
async fn put_children(session: &mut dyn Session, known: &'static Statements, entity: &Value, path: &str) -> Result<()> {
    for child in &known.children {
        let parent = cell(entity.get("id"), Holds::Id, path)?;
        let rows = session.fetch(&child.of_one, vec![parent.clone()], &child.shape_of_one).await?;
        let stored = readable(session, child, parent, rows).await?;
        let Difference { gone, new } = difference(child, stored, entity, path)?;
        for id in gone {
            session.execute(&child.delete, vec![id]).await?;
        }
        for row in new {
            session.execute(&child.insert, row).await?;
        }
    }
    Ok(())
}

/// What must be done with the rows of a child table, the first before the second.
#[derive(Default)]
pub(super) struct Difference {
    /// The ids of rows that go.
    pub gone: Vec<Cell>,
    /// Rows, as the `insert` statement takes them.
    pub new: Vec<Vec<Cell>>,
}

/// From the rows that an entity has to those that it must have. Rows that stay as they are keep their place.
pub(super) fn difference(
    child: &ChildStatements,
    mut stored: HashMap<String, Record>,
    entity: &Value,
    path: &str,
) -> Result<Difference> {
    let parent = cell(entity.get("id"), Holds::Id, path)?;
    let members = entity.get(child.table.field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut difference = Difference::default();
    for (position, member) in members.iter().enumerate() {
        let id = member.get("id").and_then(Value::as_str).unwrap_or_default();
        match stored.remove(id) {
            Some(row) if is_same(child, &row, member, position) => continue,
            Some(row) => drop(stored.insert(id.to_owned(), row)),
            None => {}
        }
        let path = format!("{path}/{}/{position}", child.table.field);
        let mut row = vec![parent.clone(), Cell::Integer(i64::try_from(position).ok())];
        row.extend(cells(child.table.columns, member, &path)?);
        difference.new.push(row);
    }
    for id in stored.into_keys() {
        difference.gone.push(cell(Some(&Value::String(id)), Holds::Id, path)?);
    }
    Ok(difference)
}

/// A parent's rows by their ids. If one can't be read, all of them go: the entity is about to replace them.
pub(super) async fn readable(
    session: &mut dyn Session,
    child: &'static ChildStatements,
    parent: Cell,
    rows: Vec<Record>,
) -> Result<HashMap<String, Record>> {
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

pub(super) fn cell(value: Option<&Value>, holds: Holds, path: &str) -> Result<Cell> {
    Cell::of(value, holds).map_err(|why| StoreError::Spoilt(Problem::new(path, why)))
}
