//! Writing many entities at once: the same rows as one by one, in statements that take many of them.

use std::collections::HashMap;

use serde_json::Value;

use crate::model::{Item, Kind};

use super::Result;
use super::session::{Cell, Record, Session};
use super::statement::{ChildStatements, MANY, Statements, statements};
use super::table::Holds;
use super::write::{self, Difference, cell, difference, readable, row};

/// From so many entities on, all children of their kind are read at once rather than those of each.
const READ_ALL: usize = 1000;

pub(super) async fn put(session: &mut dyn Session, items: &[&Item]) -> Result<()> {
    for kind in Kind::ALL {
        let of_kind: Vec<&Item> = items.iter().copied().filter(|item| item.kind() == kind).collect();
        if of_kind.len() < MANY {
            for item in of_kind {
                write::put(session, item).await?;
            }
        } else {
            put_many(session, statements(kind), &of_kind).await?;
        }
    }
    Ok(())
}

pub(super) async fn delete(session: &mut dyn Session, kind: Kind, names: &[&str]) -> Result<()> {
    let known = statements(kind);
    in_chunks(session, &known.delete, &known.delete_many, names.iter().map(|name| vec![Cell::text(*name)]).collect())
        .await
}

async fn put_many(session: &mut dyn Session, known: &'static Statements, items: &[&Item]) -> Result<()> {
    let entities: Vec<(Value, String)> =
        items.iter().map(|item| (item.to_json(), format!("{}/{}", item.kind().plural(), item.name()))).collect();
    let rows: Result<Vec<Vec<Cell>>> = entities.iter().map(|(entity, path)| row(known, entity, path)).collect();
    in_chunks(session, &known.upsert, &known.upsert_many, rows?).await?;
    for child in &known.children {
        let mut all = Difference::default();
        let mut families = if items.len() < READ_ALL { None } else { Some(families(session, child).await?) };
        for (entity, path) in &entities {
            let id = entity.get("id");
            let parent = cell(id, Holds::Id, path)?;
            let rows = match &mut families {
                Some(families) => id.and_then(Value::as_str).and_then(|id| families.remove(id)).unwrap_or_default(),
                None => session.fetch(&child.of_one, vec![parent.clone()], &child.shape_of_one).await?,
            };
            let stored = readable(session, child, parent, rows).await?;
            let Difference { gone, new } = difference(child, stored, entity, path)?;
            all.gone.extend(gone);
            all.new.extend(new);
        }
        let gone = all.gone.into_iter().map(|id| vec![id]).collect();
        in_chunks(session, &child.delete, &child.delete_many, gone).await?;
        in_chunks(session, &child.insert, &child.insert_many, all.new).await?;
    }
    Ok(())
}

/// The rows of all parents by the parents' ids.
async fn families(session: &mut dyn Session, child: &'static ChildStatements) -> Result<HashMap<String, Vec<Record>>> {
    let mut families: HashMap<String, Vec<Record>> = HashMap::new();
    for record in session.fetch(&child.placed, Vec::new(), &child.shape_of_one).await? {
        // A row whose parent can't be told belongs to nobody; the foreign key makes this impossible.
        if let Some(Ok(Value::String(parent))) = record.first() {
            families.entry(parent.clone()).or_default().push(record);
        }
    }
    Ok(families)
}

/// Executes the statement for each of `rows`, as far as possible many at once.
async fn in_chunks(
    session: &mut dyn Session,
    one: &'static str,
    many: &'static str,
    mut rows: Vec<Vec<Cell>>,
) -> Result<()> {
    let rest = rows.split_off(rows.len() / MANY * MANY);
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        session.execute(many, rows.by_ref().take(MANY).flatten().collect()).await?;
    }
    for row in rest {
        session.execute(one, row).await?;
    }
    Ok(())
}
