//! What a database must be able to do so that everything else is written once: lend a transaction, run a statement in it,
//! and read its rows by what the columns hold. The two backends implement this and nothing more.

use std::fmt::Debug;

use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use crate::model::Timestamp;

use super::table::Holds;
use super::{Result, Watch};

/// A value on its way into a statement. `None` is a typed NULL.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Id(Option<Uuid>),
    Text(Option<String>),
    Integer(Option<i64>),
    Boolean(Option<bool>),
    /// JSON, already written.
    Json(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// A row as JSON values, NULL as null; or, for a value that can't be read, why.
pub(super) type Record = Vec<Result<Value, String>>;

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads of the configuration that see one state.
    Read,
    /// Writes to the configuration.
    Write,
    /// Reads and writes of what is no configuration: nodes.
    Runtime,
    /// Reads and writes of embedded queues. A commit is on disk when it returns.
    Queue,
    /// The same of messages that are being delivered. A commit survives the process, but need not survive a power cut: what it said
    /// is then found out once more.
    Delivery,
    /// Reads of nodes and the like, which keep nobody from writing.
    RuntimeRead,
    /// The same of embedded queues.
    QueueRead,
}

#[async_trait]
pub(super) trait Backend: Debug + Send + Sync {
    async fn migrate(&self) -> Result<()>;

    async fn open(&self, purpose: Purpose) -> Result<Box<dyn Session>>;

    /// What is no configuration lies in a database of its own.
    fn has_runtime_apart(&self) -> bool;

    /// Reads the head and keeps other writers away until the transaction ends.
    fn lock_head(&self) -> &'static str;

    /// Reads the audit's head and keeps others from adding to it until the transaction ends.
    fn lock_audit(&self) -> &'static str;

    /// Takes messages of a queue for one who delivers them; see `message`.
    fn claim_messages(&self) -> &'static str;

    /// The same of messages that their worker ($1) has: the JSON list of their numbers ($2) is one parameter however long it is. Ends
    /// their lease later ($3) and answers their numbers.
    fn extend_messages(&self) -> &'static str;

    /// Deletes them.
    fn delete_messages(&self) -> &'static str;

    /// As if they had not been claimed; due at $3.
    fn give_back_messages(&self) -> &'static str;

    /// Keeps others from claiming of a queue until the transaction ends. `None`: nobody else writes now anyway.
    fn lock_queue(&self) -> Option<&'static str>;

    /// Takes callbacks of tasks that are due; see `task`.
    fn claim_callbacks(&self) -> &'static str;

    async fn watch(&self) -> Result<Box<dyn Watch>>;
}

/// An open transaction. Dropped without a commit it is undone, and so is one in which a statement failed.
#[async_trait]
pub(super) trait Session: Send {
    async fn fetch(&mut self, sql: &'static str, cells: Vec<Cell>, shape: &[Holds]) -> Result<Vec<Record>>;

    /// Answers how many rows it touched.
    async fn execute(&mut self, sql: &'static str, cells: Vec<Cell>) -> Result<u64>;

    /// Commits; with a generation it also tells whoever watches.
    async fn commit(self: Box<Self>, generation: Option<i64>) -> Result<()>;
}

impl Cell {
    #[must_use]
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// The cell for a field's value in a column that holds `holds`, or why there is none.
    pub(super) fn of(value: Option<&Value>, holds: Holds) -> Result<Self, String> {
        let value = value.filter(|value| !value.is_null());
        let not = |what: &str| format!("is not {what}");
        let string = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| not("a text"));
        Ok(match holds {
            Holds::Id => {
                let parse = |value: &Value| value.as_str().and_then(|text| Uuid::parse_str(text).ok());
                Self::Id(value.map(|value| parse(value).ok_or_else(|| not("an id"))).transpose()?)
            }
            Holds::Text => {
                let text = value.map(string).transpose()?;
                if text.as_ref().is_some_and(|text| text.contains('\0')) {
                    return Err("holds a NUL character, which can't be stored".to_owned());
                }
                Self::Text(text)
            }
            Holds::Integer => {
                let fits =
                    |value: &Value| value.as_i64().ok_or_else(|| "is too large a number to be stored".to_owned());
                Self::Integer(value.map(fits).transpose()?)
            }
            Holds::Boolean => {
                Self::Boolean(value.map(|value| value.as_bool().ok_or_else(|| not("true or false"))).transpose()?)
            }
            Holds::Time => {
                let micros = |value: &Value| {
                    serde_json::from_value::<Timestamp>(value.clone()).map(Timestamp::micros).map_err(|_| not("a time"))
                };
                Self::Integer(value.map(micros).transpose()?)
            }
            Holds::Bytes => return Err(not("of any entity")),
            Holds::Json => {
                let text = value.map(Value::to_string);
                if text.as_ref().is_some_and(|text| text.contains("\\u0000")) && value.is_some_and(holds_nul) {
                    return Err("holds a NUL character, which can't be stored".to_owned());
                }
                Self::Json(text)
            }
        })
    }
}

/// Bytes as they stand in a [`Record`].
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// Postgres can't hold this character, and both databases should refuse the same.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(members) => members.iter().any(holds_nul),
        Value::Object(fields) => fields.iter().any(|(name, field)| name.contains('\0') || holds_nul(field)),
        _ => false,
    }
}
