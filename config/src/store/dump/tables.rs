//! The tables of a backup as data. Those of entities come from their own definitions; a test compares all of them with what the
//! databases say, so that no column is forgotten.

use std::fmt::Write;
use std::sync::LazyLock;

use crate::model::Kind;
use crate::store::statement::{snake, tuples};
use crate::store::table::{Holds, table};

/// Tables and columns that a backup leaves out, each with its reason.
pub const NOT_DUMPED: [(&str, &str); 10] = [
    ("config_head", "says the newest generation, which the backup's first record says"),
    ("audit_head", "the same of the audit"),
    ("gateway_node", "gateways report again within a second"),
    ("gateway_admin_session", "logins end with a restore"),
    ("gateway_admin_login_failure", "counts of the last hour"),
    ("gateway_traffic_sample", "lives for a quarter of an hour"),
    ("gateway_queue_status", "gateways report again within seconds"),
    ("gateway_queue_test", "somebody waits for it for seconds"),
    ("gateway_queue_share", "gateways share queues anew as soon as they deliver"),
    ("gateway_message.number", "the database's own; restored messages are numbered anew, in the order of acceptance"),
];

/// Tables that a restore empties, though it has nothing to put into them: who was logged in, and what was seen, before.
pub(super) const EMPTIED: [&str; 2] = ["DELETE FROM gateway_admin_session", "DELETE FROM gateway_traffic_sample"];

/// Where a table lies on SQLite, and what a restore does with the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// They are replaced.
    Configuration,
    /// In runtime.db. They are replaced; what gateways write meanwhile is newer and stays.
    Runtime,
    /// In runtime.db. They stay: gateways have answered for them.
    Tasks,
    /// In queue.db. The same.
    Messages,
}

/// A table of a backup.
#[derive(Debug)]
pub struct DumpTable {
    pub name: String,
    pub(super) columns: Vec<DumpColumn>,
    pub(super) place: Place,
    /// By what its rows are ordered: places among the columns.
    pub(super) key: Vec<usize>,
    /// Rows read at once.
    pub(super) page: i64,
    /// $1: at most so many.
    pub(super) first: String,
    /// $1: at most so many; then the key of the row behind which to begin.
    pub(super) next: String,
    /// None: what is there stays.
    pub(super) clear: Option<String>,
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

    fn new(name: &str, columns: Vec<DumpColumn>, key: &[&str], place: Place, page: i64) -> Self {
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
        let at = |wanted: &&str| columns.iter().position(|column| column.name == **wanted);
        let stays = matches!(place, Place::Tasks | Place::Messages);
        Self {
            name: name.to_owned(),
            key: key.iter().filter_map(at).collect(),
            place,
            page,
            first: format!("SELECT {selected} FROM {name} ORDER BY {order} LIMIT $1"),
            next: format!("SELECT {selected} FROM {name} WHERE ({order}) > ({behind}) ORDER BY {order} LIMIT $1"),
            clear: (!stays).then(|| format!("DELETE FROM {name}")),
            columns,
        }
    }

    /// Puts so many rows into these columns. What gateways write at any moment may be there already, and is newer.
    pub(super) fn insert(&self, columns: &[&DumpColumn], rows: usize) -> String {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let values = tuples(rows, columns.len());
        let conflict = if self.place == Place::Configuration { "" } else { " ON CONFLICT DO NOTHING" };
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
        let entity = DumpTable::new(known.name, own, &["id"], Place::Configuration, MANY);
        let children = known.children.iter().map(move |child| {
            let mut own = vec![named(child.parent, Holds::Id), named("position", Holds::Integer)];
            own.extend(columns(child.columns));
            DumpTable::new(child.name, own, &["id"], Place::Configuration, MANY)
        });
        std::iter::once(entity).chain(children)
    })
}

fn named(name: &str, holds: Holds) -> DumpColumn {
    DumpColumn { name: name.to_owned(), holds }
}

fn others() -> impl Iterator<Item = DumpTable> {
    use Holds::{Boolean, Bytes, Id, Integer, Json, Text, Time};
    let of = |name: &str, columns: &[(&str, Holds)], key: &[&str], place: Place, page: i64| {
        let columns = columns.iter().map(|(name, holds)| named(name, *holds)).collect();
        DumpTable::new(name, columns, key, place, page)
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
        of("config_generation", &generation, &["number"], Place::Configuration, FEW),
        of("audit_entry", &audit, &["number"], Place::Configuration, FEW),
        of("audit_subject", &subject, &["number", "kind", "name"], Place::Configuration, MANY),
        of("gateway_admin", &admin, &["id"], Place::Configuration, MANY),
        of("gateway_admin_token", &token, &["id"], Place::Configuration, MANY),
        of("gateway_admin_token_usage", &usage("token_id"), &["token_id"], Place::Runtime, MANY),
        of("gateway_key_usage", &usage("key_id"), &["key_id"], Place::Runtime, MANY),
        of("gateway_route_usage", &usage("route_id"), &["route_id"], Place::Runtime, MANY),
        of(SIGNING_KEYS, &signing, &["slot"], Place::Runtime, MANY),
    ]
    .into_iter()
    .chain(queues())
}

/// What was accepted for later. A message that was delivered after the backup is delivered again, under the same id.
fn queues() -> [DumpTable; 2] {
    use Holds::{Boolean, Id, Integer, Json, Text, Time};
    let task = [
        ("id", Text),
        ("queue", Text),
        ("application", Text),
        ("application_id", Id),
        ("subject", Text),
        ("status", Text),
        ("body_hash", Text),
        ("is_published", Boolean),
        ("result", Json),
        ("error", Json),
        ("created_at", Time),
        ("updated_at", Time),
        ("finished_at", Time),
        ("expires_at", Time),
        ("callback_url", Text),
        ("callback_at", Time),
        ("callback_attempts", Integer),
    ];
    let message = [
        ("id", Text),
        ("queue", Text),
        ("event", Text),
        ("attempts", Integer),
        ("accepted_at", Time),
        ("due_at", Time),
        ("lease_owner", Id),
        ("dead_at", Time),
        ("last_error", Text),
    ];
    let columns = |columns: &[(&str, Holds)]| columns.iter().map(|(name, holds)| named(name, *holds)).collect();
    [
        DumpTable::new("gateway_task", columns(&task), &["id"], Place::Tasks, MANY),
        DumpTable::new("gateway_message", columns(&message), &["accepted_at", "id"], Place::Messages, FEW),
    ]
}

/// Worth nothing under another master key.
pub const SIGNING_KEYS: &str = "gateway_signing_key";
