//! The SQL of every entity, made once from the tables' definitions. One text serves both databases: `$n` parameters, the
//! same upsert, the same names.

use std::sync::LazyLock;

use crate::model::Kind;

use super::table::{ChildTable, Column, Holds, Table, table};

/// The rows that the statements called `…_many` take at once. With the widest table it stays far below what the databases allow
/// as parameters of one statement.
pub(super) const MANY: usize = 64;

/// Everything that is ever asked about the entities of one kind.
#[derive(Debug)]
pub(super) struct Statements {
    pub table: &'static Table,
    /// A window of all rows: $1 of them, behind the first $2. Columns: the table's, then the row's format.
    pub window: String,
    /// $1: the name.
    pub one: String,
    /// $1: behind this name; $2: a LIKE pattern in lower case; $3: at most so many.
    pub page: String,
    /// In the order of the table's columns, then the format.
    pub upsert: String,
    /// The same parameters, [`MANY`] times.
    pub upsert_many: String,
    /// $1: the name.
    pub delete: String,
    /// [`MANY`] names.
    pub delete_many: String,
    /// What the columns of `window`, `one` and `page` hold.
    pub shape: Vec<Holds>,
    pub children: Vec<ChildStatements>,
}

/// The same for the rows of a list inside an entity. Columns: the parent's id, then the table's.
#[derive(Debug)]
pub(super) struct ChildStatements {
    pub table: &'static ChildTable,
    /// Parameters as in [`Statements::window`].
    pub of_window: String,
    /// $1: the parent's id. With the position as the last column.
    pub of_one: String,
    /// The same for every parent.
    pub placed: String,
    /// Parameters as in [`Statements::page`].
    pub of_page: String,
    /// The parent's id, the position, then the table's columns.
    pub insert: String,
    /// The same parameters, [`MANY`] times.
    pub insert_many: String,
    /// $1: the row's id.
    pub delete: String,
    /// [`MANY`] ids.
    pub delete_many: String,
    /// $1: the parent's id.
    pub clear: String,
    pub shape: Vec<Holds>,
    /// Of `of_one` and `placed`.
    pub shape_of_one: Vec<Holds>,
}

/// The statements for `kind`.
#[must_use]
pub(super) fn statements(kind: Kind) -> &'static Statements {
    static SERVICE: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Service));
    static ROUTE: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Route));
    static QUEUE: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Queue));
    static APPLICATION: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Application));
    static ISSUER: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Issuer));
    static CERTIFICATE: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Certificate));
    static DEFAULTS: LazyLock<Statements> = LazyLock::new(|| Statements::build(Kind::Defaults));
    match kind {
        Kind::Service => &SERVICE,
        Kind::Route => &ROUTE,
        Kind::Queue => &QUEUE,
        Kind::Application => &APPLICATION,
        Kind::Issuer => &ISSUER,
        Kind::Certificate => &CERTIFICATE,
        Kind::Defaults => &DEFAULTS,
    }
}

impl Statements {
    fn build(kind: Kind) -> Self {
        let table = table(kind);
        let Table { name: from, .. } = *table;
        let named = snake(kind.name_field());
        let columns = names(table.columns);
        let updates: Vec<String> = table
            .columns
            .iter()
            .map(|column| snake(column.field))
            .filter(|column| *column != named)
            .chain(["format_version".to_owned()])
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let searched: Vec<String> =
            table.searched.iter().map(|column| format!("lower({column}) LIKE $2 ESCAPE '\\'")).collect();
        let condition = format!("{named} > $1 AND ({}) ORDER BY {named} LIMIT $3", searched.join(" OR "));
        let window = format!("ORDER BY {named} LIMIT $1 OFFSET $2");
        let ids = [&window, &format!("WHERE {condition}")].map(|rows| format!("SELECT id FROM {from} {rows}"));
        let upsert = |rows: usize| {
            format!(
                "INSERT INTO {from} ({columns}, format_version) VALUES {} ON CONFLICT ({named}) DO UPDATE SET {}",
                tuples(rows, table.columns.len() + 1),
                updates.join(", ")
            )
        };
        Self {
            table,
            window: format!("SELECT {columns}, format_version FROM {from} {window}"),
            one: format!("SELECT {columns}, format_version FROM {from} WHERE {named} = $1"),
            page: format!("SELECT {columns}, format_version FROM {from} WHERE {condition}"),
            upsert: upsert(1),
            upsert_many: upsert(MANY),
            delete: format!("DELETE FROM {from} WHERE {named} = $1"),
            delete_many: format!("DELETE FROM {from} WHERE {named} IN {}", tuples(1, MANY)),
            shape: table.columns.iter().map(|column| column.holds).chain([Holds::Integer]).collect(),
            children: table.children.iter().map(|child| ChildStatements::build(child, &ids)).collect(),
        }
    }
}

impl ChildStatements {
    /// `window`, `page`: which parents are in them.
    fn build(table: &'static ChildTable, [window, page]: &[String; 2]) -> Self {
        let ChildTable { name: from, parent, .. } = *table;
        let columns = names(table.columns);
        let shape: Vec<Holds> =
            [Holds::Id].into_iter().chain(table.columns.iter().map(|column| column.holds)).collect();
        let insert = |rows: usize| {
            let values = tuples(rows, table.columns.len() + 2);
            format!("INSERT INTO {from} ({parent}, position, {columns}) VALUES {values}")
        };
        let of = |parents: &str| {
            format!(
                "SELECT {parent}, {columns} FROM {from} WHERE {parent} IN ({parents}) ORDER BY {parent}, position, id"
            )
        };
        Self {
            table,
            of_window: of(window),
            placed: format!("SELECT {parent}, {columns}, position FROM {from} ORDER BY {parent}, position, id"),
            of_one: format!(
                "SELECT {parent}, {columns}, position FROM {from} WHERE {parent} = $1 ORDER BY position, id"
            ),
            of_page: of(page),
            insert: insert(1),
            insert_many: insert(MANY),
            delete: format!("DELETE FROM {from} WHERE id = $1"),
            delete_many: format!("DELETE FROM {from} WHERE id IN {}", tuples(1, MANY)),
            clear: format!("DELETE FROM {from} WHERE {parent} = $1"),
            shape_of_one: shape.iter().copied().chain([Holds::Integer]).collect(),
            shape,
        }
    }
}

/// `defaultUrl` as the column `default_url`.
#[must_use]
pub(super) fn snake(field: &str) -> String {
    let mut column = String::with_capacity(field.len() + 4);
    for letter in field.chars() {
        if letter.is_ascii_uppercase() {
            column.push('_');
        }
        column.push(letter.to_ascii_lowercase());
    }
    column
}

fn names(columns: &[Column]) -> String {
    let names: Vec<String> = columns.iter().map(|column| snake(column.field)).collect();
    names.join(", ")
}

/// `($1, $2), ($3, $4)`: so many rows of so many columns.
pub(super) fn tuples(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let numbers: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", numbers.join(", "))
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    rows.join(", ")
}
