//! Into a database.

use std::io::Read;

use gateway_config::backup::Opener;
use gateway_config::model::{Actor, ChainKey, Timestamp};
use gateway_config::store::{DumpRow, DumpTable, Restored, Restoring, SIGNING_KEYS, Store, dump_tables};

use super::Trouble;
use super::records::{Counts, Manifest, Record};

/// Rows put in at once.
const AT_ONCE: usize = 256;

/// What the operator said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders {
    pub(super) replace: bool,
    /// The master key here is another one.
    pub(super) is_other_key: bool,
}

/// A backup from its beginning to its end.
#[derive(Debug)]
pub(super) struct Reader<R> {
    opener: Opener<R>,
}

impl<R: Read> Reader<R> {
    /// Reads the manifest, which is the first thing that only the right key opens.
    pub(super) fn begin(mut opener: Opener<R>) -> Result<(Self, Manifest), Trouble> {
        match next(&mut opener)? {
            Some(Record::Manifest(manifest)) => Ok((Self { opener }, manifest)),
            _ => Err(Trouble::failed("the backup does not begin with its manifest")),
        }
    }

    /// Reads to the end and keeps nothing: whether all of it is there.
    pub(super) fn verify(mut self) -> Result<(), Trouble> {
        let mut rows = 0;
        while let Some(record) = next(&mut self.opener)? {
            match record {
                Record::Row(_) => rows += 1,
                Record::Table { name, columns } => drop(known(&name, &columns)?),
                Record::End { rows: told } => return ended(&mut self.opener, rows, told),
                Record::Manifest(_) => return Err(Trouble::failed("the backup has two manifests")),
            }
        }
        Err(Trouble::failed("the backup has no end"))
    }
}

/// Nothing is there before the last step, and after it all of it is.
pub(super) async fn restore<R: Read>(
    store: &dyn Store,
    mut reader: Reader<R>,
    manifest: &Manifest,
    orders: Orders,
    (now, actor, chain): (Timestamp, &Actor, &ChainKey),
    before_the_end: impl FnOnce() -> Result<(), Trouble>,
) -> Result<(Restored, Counts), Trouble> {
    let mut restoring = store.restore().await?;
    if !orders.replace && restoring.is_occupied().await? {
        let head = restoring.head().generation;
        return Err(Trouble::failed(format!(
            "the database is in use (generation {head}, or admins): with --replace all that it holds, its audit as well, is replaced"
        )));
    }
    restoring.clear().await?;
    let counts = put_all(&mut *restoring, &mut reader.opener, orders.is_other_key).await?;
    before_the_end()?;
    let restored = restoring.finish(&manifest.source(), now, actor, chain).await?;
    Ok((restored, counts))
}

async fn put_all<R: Read>(
    restoring: &mut dyn Restoring,
    opener: &mut Opener<R>,
    is_other_key: bool,
) -> Result<Counts, Trouble> {
    let mut counts = Counts::default();
    let mut filling = Filling { table: None, columns: Vec::new(), rows: Vec::new() };
    let mut rows = 0;
    while let Some(record) = next(opener)? {
        match record {
            Record::Row(row) => {
                rows += 1;
                if filling.table.is_none() {
                    return Err(Trouble::failed("the backup has a row of no table"));
                }
                filling.rows.push(row);
                if filling.rows.len() >= AT_ONCE {
                    filling.flush(restoring, &mut counts, is_other_key).await?;
                }
            }
            Record::Table { name, columns } => {
                filling.flush(restoring, &mut counts, is_other_key).await?;
                counts.begin(&name);
                (filling.table, filling.columns) = (Some(known(&name, &columns)?), columns);
            }
            Record::End { rows: told } => {
                filling.flush(restoring, &mut counts, is_other_key).await?;
                ended(opener, rows, told)?;
                return Ok(counts);
            }
            Record::Manifest(_) => return Err(Trouble::failed("the backup has two manifests")),
        }
    }
    Err(Trouble::failed("the backup has no end"))
}

/// Rows on their way into one table.
struct Filling {
    table: Option<&'static DumpTable>,
    columns: Vec<String>,
    rows: Vec<DumpRow>,
}

impl Filling {
    async fn flush(
        &mut self,
        restoring: &mut dyn Restoring,
        counts: &mut Counts,
        is_other_key: bool,
    ) -> Result<(), Trouble> {
        let rows = std::mem::take(&mut self.rows);
        let Some(table) = self.table.filter(|_| !rows.is_empty()) else { return Ok(()) };
        // Sealed under the other master key: gateways could not open them, and make their own.
        if is_other_key && table.name == SIGNING_KEYS {
            return Ok(());
        }
        counts.add(rows.len());
        restoring.put(table, &self.columns, rows).await.map_err(Trouble::from)
    }
}

fn next<R: Read>(opener: &mut Opener<R>) -> Result<Option<Record>, Trouble> {
    let Some(line) = opener.line()? else { return Ok(None) };
    let read = serde_json::from_slice(&line);
    read.map(Some).map_err(|_| Trouble::failed("the backup holds something that this version can't read"))
}

fn known(name: &str, columns: &[String]) -> Result<&'static DumpTable, Trouble> {
    let table = dump_tables().iter().find(|table| table.name == name);
    let later = |what: &str| {
        Trouble::failed(format!("the backup has {what}, which this version does not know: it is of a later one"))
    };
    let table = table.ok_or_else(|| later(&format!("a table {name}")))?;
    match columns.iter().find(|column| !table.column_names().contains(&column.as_str())) {
        Some(column) => Err(later(&format!("a column {name}.{column}"))),
        None => Ok(table),
    }
}

fn ended<R: Read>(opener: &mut Opener<R>, rows: u64, told: u64) -> Result<(), Trouble> {
    if rows != told || next(opener)?.is_some() {
        return Err(Trouble::failed("the backup's end does not fit what stands before it"));
    }
    Ok(())
}
