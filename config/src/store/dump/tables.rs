//! The tables of a backup as data. Those of entities come from their own definitions; a test compares all of them with what the
//! databases say, so that no column is forgotten.

use std::fmt::Write;
use std::sync::LazyLock;

use crate::model::Kind;
use crate::store::statement::{snake, tuples};
use crate::store::table::{Holds, table};

/// Tables that a backup leaves out, each with its reason.
pub const NOT_DUMPED: [(&str, &str); 6] = [
    ("config_head", "says the newest generation, which the backup's first record says"),
    ("audit_head", "the same of the audit"),
    ("gateway_node", "gateways report again within a second"),
    ("gateway_admin_session", "logins end with a restore"),
    ("gateway_admin_login_failure", "counts of the last hour"),
    ("gateway_traffic_sample", "lives for a quarter of an hour"),
];

/// Tables that a restore empties, though it has nothing to put into them: who was logged in, and what was seen, before.
pub(super) const EMPTIED: [&str; 2] = ["DELETE FROM gateway_admin_session", "DELETE FROM gateway_traffic_sample"];

/// A table of a backup.
#[derive(Debug)]
pub struct DumpTable {
    pub name: String,
    pub(super) columns: Vec<DumpColumn>,
    /// On SQLite it lies in runtime.db.
    pub(super) is_runtime: bool,
    /// By what its rows are ordered: places among the columns.
    pub(super) key: Vec<usize>,
    /// Rows read at once.
    pub(super) page: i64,
    /// $1: at most so many.
    pub(super) first: String,
    /// $1: at most so many; then the key of the row behind which to begin.
    pub(super) next: String,
    pub(super) clear: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DumpColumn {
    pub(super) name: String,
    pub(super) holds: Holds,
}

/// All of them: what others refer to before those others.
#[must_use]
pub fn dump_tables() -> &'static [DumpTable] {
    static TABLES: LazyLock<Vec<DumpTable>> = LazyLock::new(|| entities().chain(others()).collect());
    &TABLES
}

impl DumpTable {
    #[must_use]
    pub fn column_names(&self) -> Vec<&str> {
        self.columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// What is read for each column: times are plain numbers, and JSON stays the text that it is.
    pub(super) fn shape(&self) -> Vec<Holds> {
        let read = |column: &DumpColumn| match column.holds {
            Holds::Time => Holds::Integer,
            Holds::Json => Holds::Text,
            other => other,
        };
        self.columns.iter().map(read).collect()
    }

    fn new(name: &str, columns: Vec<DumpColumn>, key: &[&str], is_runtime: bool, page: i64) -> Self {
        let selected: Vec<String> = columns
            .iter()
            .map(|DumpColumn { name, holds }| match holds {
                Holds::Json => format!("CAST({name} AS TEXT)"),
                _ => name.clone(),
            })
            .collect();
        let (selected, order) = (selected.join(", "), key.join(", "));
        let behind = key.iter().enumerate().fold(String::new(), |mut list, (at, _)| {
            // Writing to a string can't fail.
            let _ = write!(list, "{}${}", if at == 0 { "" } else { ", " }, at + 2);
            list
        });
        let place = |wanted: &&str| columns.iter().position(|column| column.name == **wanted);
        Self {
            name: name.to_owned(),
            key: key.iter().filter_map(place).collect(),
            is_runtime,
            page,
            first: format!("SELECT {selected} FROM {name} ORDER BY {order} LIMIT $1"),
            next: format!("SELECT {selected} FROM {name} WHERE ({order}) > ({behind}) ORDER BY {order} LIMIT $1"),
            clear: format!("DELETE FROM {name}"),
            columns,
        }
    }

    /// Puts so many rows into these columns. What gateways write at any moment may be there already, and is newer.
    pub(super) fn insert(&self, columns: &[&DumpColumn], rows: usize) -> String {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let values = tuples(rows, columns.len());
        let conflict = if self.is_runtime { " ON CONFLICT DO NOTHING" } else { "" };
        format!("INSERT INTO {} ({}) VALUES {values}{conflict}", self.name, names.join(", "))
    }
}

const MANY: i64 = 500;
/// Of rows that may be large.
const FEW: i64 = 16;

fn entities() -> impl Iterator<Item = DumpTable> {
    Kind::ALL.into_iter().flat_map(|kind| {
        let known = table(kind);
        let columns = |known: &[crate::store::table::Column]| -> Vec<DumpColumn> {
            known.iter().map(|column| DumpColumn { name: snake(column.field), holds: column.holds }).collect()
        };
        let mut own = columns(known.columns);
        own.push(named("format_version", Holds::Integer));
        let entity = DumpTable::new(known.name, own, &["id"], false, MANY);
        let children = known.children.iter().map(move |child| {
            let mut own = vec![named(child.parent, Holds::Id), named("position", Holds::Integer)];
            own.extend(columns(child.columns));
            DumpTable::new(child.name, own, &["id"], false, MANY)
        });
        std::iter::once(entity).chain(children)
    })
}

fn named(name: &str, holds: Holds) -> DumpColumn {
    DumpColumn { name: name.to_owned(), holds }
}

fn others() -> impl Iterator<Item = DumpTable> {
    use Holds::{Boolean, Bytes, Id, Integer, Json, Text, Time};
    let of = |name: &str, columns: &[(&str, Holds)], key: &[&str], is_runtime: bool, page: i64| {
        let columns = columns.iter().map(|(name, holds)| named(name, *holds)).collect();
        DumpTable::new(name, columns, key, is_runtime, page)
    };
    let generation = [
        ("number", Integer),
        ("created_at", Time),
        ("actor", Text),
        ("summary", Text),
        ("digest", Text),
        ("format_version", Integer),
        ("changes", Json),
        ("touched", Json),
    ];
    let audit = [
        ("number", Integer),
        ("at", Time),
        ("actor", Text),
        ("address", Text),
        ("request_id", Text),
        ("action", Text),
        ("summary", Text),
        ("generation", Integer),
        ("changes", Json),
        ("hash", Text),
    ];
    let subject = [("name", Text), ("kind", Text), ("number", Integer)];
    let admin = [
        ("id", Id),
        ("email", Text),
        ("name", Text),
        ("role", Text),
        ("password_hash", Text),
        ("is_active", Boolean),
        ("epoch", Integer),
        ("revision", Integer),
        ("created_at", Time),
        ("updated_at", Time),
    ];
    let token = [
        ("id", Id),
        ("admin_id", Id),
        ("name", Text),
        ("role", Text),
        ("token_hash", Text),
        ("created_at", Time),
        ("expires_at", Time),
        ("revoked_at", Time),
    ];
    let signing = [
        ("kid", Text),
        ("slot", Integer),
        ("public_jwk", Text),
        ("sealed_private_key", Bytes),
        ("created_at", Time),
        ("active_from", Time),
        ("retired_at", Time),
    ];
    let usage = |id: &'static str| [(id, Id), ("last_used_at", Time)];
    [
        of("config_generation", &generation, &["number"], false, FEW),
        of("audit_entry", &audit, &["number"], false, FEW),
        of("audit_subject", &subject, &["number", "kind", "name"], false, MANY),
        of("gateway_admin", &admin, &["id"], false, MANY),
        of("gateway_admin_token", &token, &["id"], false, MANY),
        of("gateway_admin_token_usage", &usage("token_id"), &["token_id"], true, MANY),
        of("gateway_key_usage", &usage("key_id"), &["key_id"], true, MANY),
        of("gateway_route_usage", &usage("route_id"), &["route_id"], true, MANY),
        of(SIGNING_KEYS, &signing, &["slot"], true, MANY),
    ]
    .into_iter()
}

/// Worth nothing under another master key.
pub const SIGNING_KEYS: &str = "gateway_signing_key";
