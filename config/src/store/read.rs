//! Reading the configuration in an open transaction: the head, all of it, what changed, one entity, a page of them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Change, Configuration, DEFAULTS_NAME, Defaults, Digest, Edit, Item, Kind, Problem};

use super::record::{Family, by_parent, item};
use super::session::{Cell, Record, Session};
use super::statement::statements;
use super::table::Holds;
use super::{Head, Loaded, Page, Result, Since, StoreError, Survey};

pub(super) const READ_HEAD: &str = "SELECT generation, digest, format_version FROM config_head WHERE id = 1";
const READ_TOUCHED: &str = "SELECT number, touched FROM config_generation WHERE number > $1 ORDER BY number LIMIT 1001";

/// Further behind than this, in generations or in entities, loading everything is cheaper than catching up.
const CATCH_UP: usize = 1000;
/// Rows that are held at once while all are read.
const WINDOW: usize = 500;

pub(super) async fn head(session: &mut dyn Session, sql: &'static str) -> Result<Head> {
    let shape = [Holds::Integer, Holds::Text, Holds::Integer];
    let rows = session.fetch(sql, Vec::new(), &shape).await?;
    let Some([generation, digest, format]) = rows.first().map(Vec::as_slice) else {
        return Err(StoreError::NotMigrated("config_head has no row".to_owned()));
    };
    let number = |field: &Result<Value, String>| field.as_ref().ok().and_then(Value::as_u64);
    let Some(generation) = number(generation) else {
        return Err(StoreError::Spoilt(Problem::new("config_head/generation", "is not a number")));
    };
    let digest = match generation {
        // Nobody has written yet, so the row can't say it.
        0 => Configuration::default().digest(),
        // A digest spoilt by hand is one that nothing matches; what stands in the tables still serves.
        _ => digest.as_ref().ok().and_then(Value::as_str).and_then(Digest::parse).unwrap_or_default(),
    };
    let format = number(format).and_then(|format| i32::try_from(format).ok()).unwrap_or(i32::MAX);
    Ok(Head { generation, digest, format })
}

pub(super) async fn load(session: &mut dyn Session) -> Result<Loaded> {
    let mut loaded = Loaded { head: head(session, READ_HEAD).await?, ..Loaded::default() };
    for kind in Kind::ALL {
        let take = |read| match read {
            Ok(item) => drop(loaded.configuration.put(item)),
            Err(problem) => loaded.spoilt.push(problem),
        };
        each(session, kind, take).await?;
    }
    Ok(loaded)
}

/// The digest of what [`load`] would bring, of which no more than a window is held at any time.
pub(super) async fn survey(session: &mut dyn Session) -> Result<Survey> {
    // The defaults exist also without a row.
    let unwritten = Configuration::default().digest();
    let mut survey = Survey { digest: unwritten, spoilt: Vec::new() };
    for kind in Kind::ALL {
        let replaced = if kind == Kind::Defaults { unwritten } else { Digest::default() };
        let take = |read: Result<Item, Problem>| match read {
            Ok(item) => survey.digest = survey.digest.minus(replaced).plus(item.digest()),
            Err(problem) => survey.spoilt.push(problem),
        };
        each(session, kind, take).await?;
    }
    Ok(survey)
}

/// Every entity of the kind, in the order of names, and what is wrong with the rows that can't be read.
pub(super) async fn all(session: &mut dyn Session, kind: Kind) -> Result<(Vec<Item>, Vec<Problem>)> {
    let (mut items, mut spoilt) = (Vec::new(), Vec::new());
    let take = |read| match read {
        Ok(item) => items.push(item),
        Err(problem) => spoilt.push(problem),
    };
    each(session, kind, take).await?;
    Ok((items, spoilt))
}

/// Shows every entity of the kind, in the order of names. Rows take several times the memory of what is made of them, so only a window of them
/// is held at once. By their number and not behind a name: of a row that was spoilt by hand, the name may be what can't be read.
async fn each(session: &mut dyn Session, kind: Kind, mut take: impl FnMut(Result<Item, Problem>)) -> Result<()> {
    let known = statements(kind);
    for before in (0..).step_by(WINDOW) {
        let number = |number| Cell::Integer(i64::try_from(number).ok());
        let cells = vec![number(WINDOW), number(before)];
        let rows = session.fetch(&known.window, cells.clone(), &known.shape).await?;
        let is_last = rows.len() < WINDOW;
        let mut families = Vec::with_capacity(known.children.len());
        for child in &known.children {
            families.push(by_parent(session.fetch(&child.of_window, cells.clone(), &child.shape).await?));
        }
        rows.into_iter().map(|row| item(kind, row, &mut families)).for_each(&mut take);
        if is_last {
            break;
        }
    }
    Ok(())
}

pub(super) async fn load_since(session: &mut dyn Session, generation: u64) -> Result<Since> {
    let head = head(session, READ_HEAD).await?;
    if generation == head.generation {
        return Ok(Since::UpToDate);
    }
    let Some(touched) = touched(session, generation, head.generation).await? else {
        return Ok(Since::Reload);
    };
    let (mut edits, mut spoilt) = (Vec::with_capacity(touched.len()), Vec::new());
    for (kind, name) in touched {
        match find(session, kind, &name).await? {
            Some(Ok(item)) => edits.push(Edit::Put(item)),
            Some(Err(problem)) => spoilt.push(problem),
            None => edits.push(Edit::Delete { kind, name }),
        }
    }
    Ok(Since::Changed { head, change: Change { generation: head.generation, edits }, spoilt })
}

/// What the generations behind `from` up to `to` wrote; `None` when the history can't tell.
async fn touched(session: &mut dyn Session, from: u64, to: u64) -> Result<Option<BTreeSet<(Kind, String)>>> {
    let missing = to.checked_sub(from).and_then(|missing| usize::try_from(missing).ok());
    let (Some(missing), Ok(behind)) = (missing.filter(|missing| *missing <= CATCH_UP), i64::try_from(from)) else {
        return Ok(None);
    };
    let rows = session.fetch(READ_TOUCHED, vec![Cell::Integer(Some(behind))], &[Holds::Integer, Holds::Json]).await?;
    let mut touched = BTreeSet::new();
    let mut expected = from;
    for row in &rows {
        expected += 1;
        let [Ok(number), Ok(list)] = row.as_slice() else { return Ok(None) };
        let list = serde_json::from_value::<Vec<(Kind, String)>>(list.clone());
        let (Some(number), Ok(list)) = (number.as_u64(), list) else { return Ok(None) };
        if number != expected {
            return Ok(None);
        }
        touched.extend(list);
    }
    Ok((rows.len() == missing && touched.len() <= CATCH_UP).then_some(touched))
}

/// One entity as it stands. The defaults exist also without a row.
async fn find(session: &mut dyn Session, kind: Kind, name: &str) -> Result<Option<Result<Item, Problem>>> {
    let known = statements(kind);
    let mut rows = session.fetch(&known.one, vec![Cell::text(name)], &known.shape).await?;
    let Some(row) = rows.pop() else {
        let fresh = kind == Kind::Defaults && name == DEFAULTS_NAME;
        return Ok(fresh.then(|| Ok(Item::Defaults(Defaults::default().into()))));
    };
    let id = row_id(&row);
    let mut families = Vec::with_capacity(known.children.len());
    for child in &known.children {
        let rows = session.fetch(&child.of_one, vec![id.clone()], &child.shape_of_one).await?;
        families.push(by_parent(rows));
    }
    Ok(Some(item(kind, row, &mut families)))
}

/// The first column of every table is the row's id.
fn row_id(row: &Record) -> Cell {
    row.first()
        .and_then(|id| id.as_ref().ok())
        .and_then(|id| Cell::of(Some(id), Holds::Id).ok())
        .unwrap_or(Cell::Id(None))
}

pub(super) async fn get(session: &mut dyn Session, kind: Kind, name: &str) -> Result<Option<Item>> {
    find(session, kind, name).await?.transpose().map_err(StoreError::Spoilt)
}

/// Spoilt rows are left out and said in the log; the page is filled from behind them, so that a short page still means the end.
pub(super) async fn list(session: &mut dyn Session, kind: Kind, page: &Page) -> Result<Vec<Item>> {
    let known = statements(kind);
    let wanted = page.limit as usize;
    let mut items = Vec::new();
    let mut after = page.after.clone().unwrap_or_default();
    while items.len() < wanted {
        let limit = wanted - items.len();
        let cells = vec![
            Cell::text(&after),
            Cell::text(pattern(page.search.as_deref().unwrap_or(""))),
            Cell::Integer(i64::try_from(limit).ok()),
        ];
        let mut families: Vec<Family> = Vec::with_capacity(known.children.len());
        for child in &known.children {
            families.push(by_parent(session.fetch(&child.of_page, cells.clone(), &child.shape).await?));
        }
        let rows = session.fetch(&known.page, cells, &known.shape).await?;
        let is_last = rows.len() < limit;
        let named = known.table.columns.iter().position(|column| column.field == kind.name_field());
        let last = rows.last().zip(named).and_then(|(row, at)| row.get(at)).and_then(|name| name.as_ref().ok());
        let last = last.and_then(Value::as_str).map(str::to_owned);
        for row in rows {
            match item(kind, row, &mut families) {
                Ok(item) => items.push(item),
                Err(problem) => tracing::warn!(%problem, "a listing leaves out a row that can't be read"),
            }
        }
        match last {
            Some(last) if !is_last => after = last,
            _ => break,
        }
    }
    Ok(items)
}

/// A LIKE pattern for texts that contain `search`. Both databases fold ASCII only, so nothing else is folded here.
pub(super) fn pattern(search: &str) -> String {
    let mut pattern = String::from("%");
    for letter in search.chars().filter(|letter| *letter != '\0') {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}
