//! Out of the database.

use std::io::Write;

use gateway_config::backup::Sealer;
use gateway_config::model::Timestamp;
use gateway_config::store::{Store, dump_tables};

use super::Trouble;
use super::records::{Counts, Manifest, Record};

/// Whose secrets it holds.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) fingerprint: String,
    pub(super) text: Option<String>,
}

/// Writes all of it; answers the generation and how many rows there are.
pub(super) async fn make<W: Write>(
    store: &dyn Store,
    sealer: &mut Sealer<W>,
    identity: Identity,
    made_at: Timestamp,
) -> Result<(u64, Counts), Trouble> {
    let mut dumping = store.dump().await?;
    let (generation, audit) = (dumping.head().generation, dumping.audit_head().clone());
    let manifest = Manifest {
        generation,
        audit_number: audit.number,
        audit_hash: audit.hash,
        made_at,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        master_key: identity.fingerprint,
        master_key_text: identity.text,
    };
    write(sealer, &Record::Manifest(manifest))?;
    let mut counts = Counts::default();
    for table in dump_tables() {
        let columns = table.column_names().into_iter().map(str::to_owned).collect();
        write(sealer, &Record::Table { name: table.name.clone(), columns })?;
        counts.begin(&table.name);
        let mut last = None;
        loop {
            let rows = dumping.rows(table, last.as_ref()).await?;
            if rows.is_empty() {
                break;
            }
            counts.add(rows.len());
            for row in rows {
                let record = Record::Row(row);
                write(sealer, &record)?;
                if let Record::Row(row) = record {
                    last = Some(row);
                }
            }
        }
    }
    write(sealer, &Record::End { rows: counts.total() })?;
    dumping.end().await?;
    Ok((generation, counts))
}

fn write<W: Write>(sealer: &mut Sealer<W>, record: &Record) -> Result<(), Trouble> {
    let line =
        serde_json::to_vec(record).map_err(|error| Trouble::failed(format!("could not write a row: {error}")))?;
    sealer.line(&line).map_err(Trouble::from)
}
