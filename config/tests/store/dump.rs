//! Everything out of one database and into another: nothing is forgotten, nothing is lost on the way, and it is there whole or not
//! at all.

use std::collections::{BTreeMap, BTreeSet};

use gateway_config::clock::new_id;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{
    Action, Actor, Admin, AuditChange, ChainKey, EntityChange, Id, Item, Kind, NewAudit, PersonalToken, Role, Task,
    TaskStatus, Timestamp,
};
use gateway_config::store::conformance::Subject;
use gateway_config::store::{
    Audited, DumpRow, DumpSource, Here, MessageClaim, NOT_DUMPED, NewGeneration, NewMessage, Settlement, SigningKeyRow,
    Since, Store, dump_tables, verify_audit,
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use crate::subject::{Postgres, Sqlite};

const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_123_456);

type Dumped = BTreeMap<&'static str, Vec<DumpRow>>;

fn chain() -> ChainKey {
    ChainKey::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap())
}

#[tokio::test]
async fn every_column_of_both_databases_is_dumped_or_left_out_by_name() {
    let left_out: BTreeSet<&str> = NOT_DUMPED.iter().map(|(table, _)| *table).collect();
    let dumped: BTreeSet<String> = dump_tables()
        .iter()
        .flat_map(|table| table.column_names().into_iter().map(|column| format!("{}.{column}", table.name)))
        .collect();
    let without = |columns: BTreeSet<String>| -> BTreeSet<String> {
        let is_left_out =
            |column: &str| left_out.contains(column) || left_out.contains(column.split('.').next().unwrap());
        columns.into_iter().filter(|column| !is_left_out(column)).collect()
    };
    let sqlite = Sqlite::migrated().await;
    let mut columns = sqlite_columns(&sqlite.url()).await;
    for file in ["runtime.db", "queue.db"] {
        columns.extend(sqlite_columns(&sqlite.url().replace("gateway.db", file)).await);
    }
    assert_eq!(dumped, without(columns));

    let postgres = Postgres::migrated().await;
    let listed = "SELECT table_name || '.' || column_name FROM information_schema.columns \
        WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'";
    let listed: Vec<String> = sqlx::query_scalar(listed).fetch_all(&mut postgres.connect().await).await.unwrap();
    assert_eq!(dumped, without(listed.into_iter().collect()));
}

async fn sqlite_columns(url: &str) -> BTreeSet<String> {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    let listed = "SELECT m.name || '.' || c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c \
        WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'";
    sqlx::query_scalar::<_, String>(listed).fetch_all(&mut connection).await.unwrap().into_iter().collect()
}

#[tokio::test]
async fn what_went_from_postgres_to_sqlite_and_back_is_the_same() {
    let (first, between, last) = (Postgres::migrated().await, Sqlite::migrated().await, Postgres::migrated().await);
    let (first, between, last) = (first.open().await, between.open().await, last.open().await);
    fill(&*first).await;
    let before = dumped(&*first).await;
    for (table, rows) in &before {
        assert!(!rows.is_empty(), "nothing is proven of {table}");
    }
    copy(&*first, &*between).await;
    copy(&*between, &*last).await;
    let after = dumped(&*last).await;
    for (table, rows) in &before {
        // Each restore adds a generation and an entry of the audit at the end.
        let added = if ["config_generation", "audit_entry"].contains(table) { 2 } else { 0 };
        assert_eq!(after[table].len(), rows.len() + added, "{table}");
        for (before, after) in rows.iter().zip(&after[table]) {
            assert_eq!(read(before), read(after), "{table}");
        }
    }
    let (was, is) = (first.load().await.unwrap(), last.load().await.unwrap());
    assert_eq!(is.configuration, was.configuration);
    assert_eq!((is.head.generation, is.head.digest), (was.head.generation + 2, was.configuration.digest()));
    assert!(matches!(verify_audit(&*last, &chain(), None).await.unwrap(), Audited::Unbroken(_)));
    assert_eq!(last.signing_keys().await.unwrap(), first.signing_keys().await.unwrap());
}

#[tokio::test]
async fn a_restore_that_does_not_come_to_its_end_leaves_all_as_it_was() {
    for is_postgres in [false, true] {
        let subject: Box<dyn Subject> =
            if is_postgres { Box::new(Postgres::migrated().await) } else { Box::new(Sqlite::migrated().await) };
        let store = subject.open().await;
        fill(&*store).await;
        let before = dumped(&*store).await;
        let mut restoring = store.restore().await.unwrap();
        assert!(restoring.is_occupied().await.unwrap());
        restoring.clear().await.unwrap();
        let table = dump_tables().iter().find(|table| table.name == "gateway_key_usage").unwrap();
        let columns: Vec<String> = table.column_names().into_iter().map(str::to_owned).collect();
        restoring.put(table, &columns, vec![vec![json!(new_id()), json!(1)]]).await.unwrap();
        drop(restoring);
        assert_eq!(dumped(&*store).await, before, "postgres: {is_postgres}");

        let mut restoring = store.restore().await.unwrap();
        restoring.clear().await.unwrap();
        assert!(restoring.put(table, &columns, vec![vec![json!("no id"), json!(1)]]).await.is_err());
        let unknown = ["key_id".to_owned(), "later".to_owned()];
        assert!(restoring.put(table, &unknown, vec![vec![json!(new_id()), json!(1)]]).await.is_err());
        drop(restoring);
        assert_eq!(dumped(&*store).await, before, "postgres: {is_postgres}");
    }
}

/// A gateway that served another lineage must not apply changes to it.
#[tokio::test]
async fn no_history_reaches_over_a_restore() {
    for is_postgres in [false, true] {
        let subject: Box<dyn Subject> =
            if is_postgres { Box::new(Postgres::migrated().await) } else { Box::new(Sqlite::migrated().await) };
        let (backup, store) = (Sqlite::migrated().await, subject.open().await);
        let backup = backup.open().await;
        for name in ["a", "b", "c"] {
            put(&*backup, &service(name)).await;
        }
        put(&*store, &service("x")).await;
        copy(&*backup, &*store).await;
        let head = store.head().await.unwrap();
        assert_eq!(head.generation, 4);
        for served in [0, 1, 3, 5, 100] {
            assert!(matches!(store.load_since(served).await.unwrap(), Since::Reload), "{served}");
        }
        // Over what is newer than the backup: behind that.
        for _ in 0..5 {
            put(&*store, &service("y")).await;
        }
        copy(&*backup, &*store).await;
        assert_eq!(store.head().await.unwrap().generation, 10);
        assert!(matches!(store.load_since(9).await.unwrap(), Since::Reload));
        let names: Vec<String> = store.load().await.unwrap().configuration.services.into_keys().collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(matches!(verify_audit(&*store, &chain(), None).await.unwrap(), Audited::Unbroken(_)));
        put(&*store, &service("z")).await;
        assert!(matches!(store.load_since(10).await.unwrap(), Since::Changed { .. }));
    }
}

#[tokio::test]
async fn a_dump_sees_one_state_while_others_write() {
    for is_postgres in [false, true] {
        let subject: Box<dyn Subject> =
            if is_postgres { Box::new(Postgres::migrated().await) } else { Box::new(Sqlite::migrated().await) };
        let store = subject.open().await;
        put(&*store, &service("a")).await;
        let mut dumping = store.dump().await.unwrap();
        put(&*store, &service("b")).await;
        store.record_key_usage(&[(Id::new(new_id()), NOW)]).await.unwrap();
        assert_eq!(dumping.head().generation, 1);
        for (name, rows) in [("gateway_service_config", 1), ("config_generation", 1), ("gateway_key_usage", 0)] {
            let table = dump_tables().iter().find(|table| table.name == name).unwrap();
            assert_eq!(dumping.rows(table, None).await.unwrap().len(), rows, "{name}, postgres: {is_postgres}");
        }
        dumping.end().await.unwrap();
    }
}

async fn dumped(store: &dyn Store) -> Dumped {
    let mut dumping = store.dump().await.unwrap();
    let mut all = Dumped::new();
    for table in dump_tables() {
        let found = all.entry(table.name.as_str()).or_default();
        loop {
            let rows = dumping.rows(table, found.last()).await.unwrap();
            if rows.is_empty() {
                break;
            }
            found.extend(rows);
        }
    }
    dumping.end().await.unwrap();
    all
}

async fn copy(from: &dyn Store, to: &dyn Store) {
    let rows = dumped(from).await;
    let dumping = from.dump().await.unwrap();
    let (generation, audit) = (dumping.head().generation, dumping.audit_head().clone());
    dumping.end().await.unwrap();
    let source = DumpSource { generation, audit, made_at: NOW };
    let mut restoring = to.restore().await.unwrap();
    restoring.clear().await.unwrap();
    for table in dump_tables() {
        let columns: Vec<String> = table.column_names().into_iter().map(str::to_owned).collect();
        restoring.put(table, &columns, rows[table.name.as_str()].clone()).await.unwrap();
    }
    restoring.finish(&source, NOW, &Actor::from("test"), &chain()).await.unwrap();
}

/// JSON is the same however it is written.
fn read(row: &DumpRow) -> Vec<Value> {
    let parsed = |text: &str| serde_json::from_str(text).ok().filter(|it: &Value| it.is_object() || it.is_array());
    row.iter().map(|value| value.as_str().and_then(parsed).unwrap_or_else(|| value.clone())).collect()
}

fn item(kind: Kind, value: Value) -> Item {
    Item::from_json(kind, value).unwrap()
}

fn service(name: &str) -> Item {
    item(Kind::Service, json!({"id": new_id(), "serviceName": name, "defaultUrl": "http://a"}))
}

async fn put(store: &dyn Store, item: &Item) {
    let mut transaction = store.begin().await.unwrap();
    transaction.put(item).await.unwrap();
    let number = transaction.head().generation + 1;
    let digest = transaction.load().await.unwrap().configuration.digest();
    let changes = vec![EntityChange {
        kind: item.kind(),
        name: item.name().to_owned(),
        before: None,
        after: Some(item.to_json()),
    }];
    let summary = "Ünïcödé \"quoted\"".to_owned();
    let deed = NewAudit {
        at: NOW,
        actor: Actor {
            name: "ann".to_owned(),
            address: Some("2001:db8::1".parse().unwrap()),
            request_id: Some("r-1".to_owned()),
        },
        action: Action::ConfigWrite,
        summary: summary.clone(),
        generation: Some(number),
        changes: vec![AuditChange {
            kind: item.kind().word().to_owned(),
            name: item.name().to_owned(),
            before: None,
            after: None,
        }],
    };
    transaction.audit(&deed, &chain()).await.unwrap();
    let new = NewGeneration { number, digest, created_at: NOW, actor: "ann".to_owned(), summary, changes };
    transaction.commit(&new).await.unwrap();
}

/// Something into every table.
async fn fill(store: &dyn Store) {
    let key = json!({"id": new_id(), "name": "till", "prefix": "abcdefghijkl", "apiKeyHash": "$argon2id$x", "expiresAt": NOW,
        "createdAt": NOW, "updatedAt": NOW});
    let schema = json!({"type": "object", "maximum": 1e300, "minimum": 0.1, "const": 18_446_744_073_709_551_615_u64});
    for item in [
        item(
            Kind::Service,
            json!({"id": new_id(), "serviceName": "a", "versions": [{"id": new_id(), "version": "v1", "url": "http://a"}]}),
        ),
        item(Kind::Route, json!({"id": new_id(), "name": "a", "path": "/", "target": {"service": "a"}})),
        item(
            Kind::Application,
            json!({"id": new_id(), "name": "a", "whitelist": [{"id": new_id(), "endpointPath": "/"}], "apiKeys": [key]}),
        ),
        item(Kind::Queue, json!({"id": new_id(), "name": "a", "schema": schema})),
        item(Kind::Issuer, json!({"id": new_id(), "name": "a", "issuer": "https://a", "secret": "file:a"})),
        item(
            Kind::Certificate,
            json!({"id": new_id(), "name": "a", "hosts": ["a"], "certificatePem": "x", "privateKey": "file:a"}),
        ),
        item(Kind::Defaults, json!({"id": new_id(), "name": "defaults", "maxBodyBytes": 5})),
    ] {
        put(store, &item).await;
    }
    // More than one page, and more than one statement.
    let uses: Vec<_> = (0..1100).map(|_| (Id::new(new_id()), NOW)).collect();
    store.record_key_usage(&uses).await.unwrap();
    store.record_route_usage(&[(Id::new(new_id()), NOW)], NOW).await.unwrap();
    accept(store).await;
    let admin = Admin {
        id: Id::new(new_id()),
        email: "ann@example.com".to_owned(),
        name: "Ann".to_owned(),
        role: Role::Admin,
        is_active: true,
        epoch: 3,
        revision: 4,
        created_at: NOW,
        updated_at: NOW,
    };
    let deed = |action| NewAudit {
        at: NOW,
        actor: Actor::from("ann"),
        action,
        summary: "made".to_owned(),
        generation: None,
        changes: Vec::new(),
    };
    store.add_admin(&admin, "$argon2id$y", true, &deed(Action::AdminCreate), &chain()).await.unwrap();
    let token = PersonalToken {
        id: Id::new(new_id()),
        admin_id: admin.id,
        name: "ci".to_owned(),
        role: Role::Viewer,
        created_at: NOW,
        expires_at: Some(NOW),
        revoked_at: None,
    };
    store.add_token(&token, "hash", &deed(Action::TokenCreate), &chain()).await.unwrap();
    store.record_token_use(token.id, NOW).await.unwrap();
    for slot in 0..3 {
        let row = SigningKeyRow {
            kid: format!("kid-{slot}"),
            slot,
            public_jwk: "{\"a\": 1}".to_owned(),
            sealed_private_key: vec![0, 1, 254, 255],
            created_at: NOW,
            active_from: NOW,
            retired_at: None,
        };
        assert!(store.add_signing_key(&row).await.unwrap());
    }
}

/// Tasks and messages: one that waits, one that is being delivered, one that is dead, and more than one page.
async fn accept(store: &dyn Store) {
    let tasks: Vec<Task> = (0..3).map(task).collect();
    store.note_tasks(&tasks).await.unwrap();
    let messages: Vec<NewMessage> = (0..40).map(message).collect();
    store.accept_messages(&messages).await.unwrap();
    let (worker, now) = (new_id(), NOW);
    let claim =
        MessageClaim { queue: "mails", worker, now, until: later(1), limit: 2, concurrency: 9, here: Here::default() };
    let claimed = store.claim_messages(&claim).await.unwrap().messages;
    let dead = Settlement::Dead { at: NOW, error: "status 500".to_owned() };
    store.settle_messages(worker, &[(claimed[0].number, dead)], &[]).await.unwrap();
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() + seconds * 1_000_000)
}

fn task(number: usize) -> Task {
    Task {
        id: format!("task-{number}"),
        queue: "mails".to_owned(),
        application: Some("a".to_owned()),
        application_id: Some(Id::new(new_id())),
        subject: None,
        status: TaskStatus::Succeeded,
        body_hash: "hash".to_owned(),
        is_published: true,
        result: Some(json!({"n": 0.1})),
        error: None,
        created_at: NOW,
        updated_at: NOW,
        finished_at: Some(NOW),
        expires_at: later(60),
        callback_url: Some("https://a.example/done".to_owned()),
    }
}

/// The later the number, the sooner its name in the alphabet.
fn message(number: i32) -> NewMessage {
    let id = format!("message-{:02}", 99 - number);
    let accepted_at = Timestamp::from_micros(NOW.micros() - 100 + i64::from(number));
    NewMessage { id, queue: "mails".to_owned(), event: "{\"data\": \"grüß\"}".to_owned(), accepted_at }
}

/// Accepted with a 202 is never lost, and never there twice.
#[tokio::test]
async fn a_restore_adds_messages_to_those_that_wait_and_they_keep_their_order() {
    for is_postgres in [false, true] {
        let subject: Box<dyn Subject> =
            if is_postgres { Box::new(Postgres::migrated().await) } else { Box::new(Sqlite::migrated().await) };
        let (backup, store) = (Sqlite::migrated().await, subject.open().await);
        let backup = backup.open().await;
        let messages: Vec<NewMessage> = (0..4).map(message).collect();
        backup.accept_messages(&messages).await.unwrap();
        store.accept_messages(&[message(9), messages[2].clone()]).await.unwrap();
        copy(&*backup, &*store).await;
        // The numbers go on behind those that were restored.
        store.accept_messages(&[message(10)]).await.unwrap();
        let claim = MessageClaim {
            queue: "mails",
            worker: new_id(),
            now: NOW,
            until: later(1),
            limit: 99,
            concurrency: 99,
            here: Here::default(),
        };
        let mut claimed = store.claim_messages(&claim).await.unwrap().messages;
        claimed.sort_by_key(|message| message.accepted_at);
        let ids: Vec<&str> = claimed.iter().map(|message| message.id.as_str()).collect();
        let expected = [0, 1, 2, 3, 9, 10].map(|number| message(number).id);
        assert_eq!(ids, expected, "postgres: {is_postgres}");
        let numbers: Vec<i64> = claimed
            .iter()
            .filter(|it| [0, 1, 3, 10].map(|n| message(n).id).contains(&it.id))
            .map(|it| it.number)
            .collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
}
