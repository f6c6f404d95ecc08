//! When each API key was last used. Gateways write it behind, in batches; it is no part of the configuration.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::LazyLock;

use uuid::Uuid;

use crate::model::{ApiKey, Id, Timestamp};

use super::Result;
use super::session::{Cell, Session};
use super::table::Holds;

/// Rows in one statement, the largest first: a statement's text must be known beforehand.
static RECORD: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [500, 25, 1].map(|rows| (rows, record_of(rows))));

const ASKED_AT_ONCE: usize = 100;
static READ: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT key_id, last_used_at FROM gateway_key_usage WHERE key_id IN ({})", parameters(1, ASKED_AT_ONCE))
});

/// Gateways report in any order, so a use only moves its key's time forward.
fn record_of(rows: usize) -> String {
    let values: Vec<String> = (0..rows).map(|row| format!("({})", parameters(row * 2 + 1, 2))).collect();
    format!(
        "INSERT INTO gateway_key_usage (key_id, last_used_at) VALUES {} ON CONFLICT (key_id) DO UPDATE SET \
         last_used_at = excluded.last_used_at WHERE gateway_key_usage.last_used_at < excluded.last_used_at",
        values.join(", ")
    )
}

/// `$first, …`
fn parameters(first: usize, count: usize) -> String {
    (first..first + count).fold(String::new(), |mut list, number| {
        let comma = if list.is_empty() { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(list, "{comma}${number}");
        list
    })
}

pub(super) async fn record(session: &mut dyn Session, uses: &[(Id<ApiKey>, Timestamp)]) -> Result<()> {
    // Each key once, as the upsert demands, and in one order for all gateways, or two of them could wait for each other's rows.
    let mut latest: BTreeMap<Uuid, Timestamp> = BTreeMap::new();
    for (key, moment) in uses {
        let known = latest.entry(key.uuid()).or_insert(*moment);
        *known = (*known).max(*moment);
    }
    let rows: Vec<(Uuid, Timestamp)> = latest.into_iter().collect();
    let mut rest = rows.as_slice();
    for (size, sql) in &*RECORD {
        while let Some((now, later)) = rest.split_at_checked(*size) {
            let cells =
                now.iter().flat_map(|(key, moment)| [Cell::Id(Some(*key)), Cell::Integer(Some(moment.micros()))]);
            session.execute(sql, cells.collect()).await?;
            rest = later;
        }
    }
    Ok(())
}

pub(super) async fn read(session: &mut dyn Session, keys: &[Id<ApiKey>]) -> Result<HashMap<Id<ApiKey>, Timestamp>> {
    let mut found = HashMap::new();
    for asked in keys.chunks(ASKED_AT_ONCE) {
        // The statement's list is filled with a key that nobody has.
        let ids = asked.iter().map(|key| key.uuid()).chain(std::iter::repeat(Uuid::nil()));
        let cells = ids.take(ASKED_AT_ONCE).map(|key| Cell::Id(Some(key))).collect();
        for row in session.fetch(&READ, cells, &[Holds::Id, Holds::Time]).await? {
            // A row that can't be read is as good as none: the next use replaces it.
            let mut fields = row.into_iter().filter_map(std::result::Result::ok);
            let key = fields.next().and_then(|key| serde_json::from_value(key).ok());
            let moment = fields.next().and_then(|moment| serde_json::from_value(moment).ok());
            if let (Some(key), Some(moment)) = (key, moment) {
                found.insert(key, moment);
            }
        }
    }
    Ok(found)
}
