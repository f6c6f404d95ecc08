//! What stands in a backup, line by line: a manifest, then each table with its rows, then an end that counts them.

use gateway_config::model::Timestamp;
use gateway_config::store::{AuditHead, DumpRow, DumpSource};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Record {
    Manifest(Manifest),
    /// The rows that follow are of this table.
    Table {
        name: String,
        columns: Vec<String>,
    },
    Row(DumpRow),
    End {
        rows: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) generation: u64,
    pub(super) audit_number: u64,
    pub(super) audit_hash: String,
    pub(super) made_at: Timestamp,
    /// Of the program that made it.
    pub(super) version: String,
    /// The fingerprint of the master key.
    pub(super) master_key: String,
    /// The key itself, where it is a file beside the database and a passphrase seals the backup: without it much of what is
    /// restored would be worth nothing, and the file may be gone with the disk.
    pub(super) master_key_text: Option<String>,
}

impl Manifest {
    pub(super) fn source(&self) -> DumpSource {
        let audit = AuditHead { number: self.audit_number, hash: self.audit_hash.clone() };
        DumpSource { generation: self.generation, audit, made_at: self.made_at }
    }
}

/// Rows by table, in the order of the backup.
#[derive(Debug, Default)]
pub(super) struct Counts(Vec<(String, u64)>);

impl Counts {
    pub(super) fn begin(&mut self, table: &str) {
        self.0.push((table.to_owned(), 0));
    }

    pub(super) fn add(&mut self, rows: usize) {
        if let Some((_, count)) = self.0.last_mut() {
            *count += rows as u64;
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// Empty tables are not worth a word.
    pub(super) fn in_words(&self) -> String {
        let told = self.0.iter().filter(|(_, count)| *count > 0).map(|(table, count)| format!("{table} {count}"));
        let told: Vec<String> = told.collect();
        if told.is_empty() { "no rows".to_owned() } else { told.join(", ") }
    }
}
