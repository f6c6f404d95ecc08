//! `admin-api backup` and `admin-api restore`: the program, on SQLite. That both databases hold the same afterwards is proven where
//! the store is; here is what operators meet.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gateway_config::clock::new_id;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{ChainKey, Id, Timestamp};
use gateway_config::store::{self, Audited, SigningKeyRow, Store, verify_audit};
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Admin, MASTER_KEY, master_key, route};

const PASSPHRASE: &str = "correct horse battery staple";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn store(&self) -> std::sync::Arc<dyn Store> {
        store::open(&format!("sqlite://{}", self.path().join("gateway.db").display())).await.unwrap()
    }

    /// A fleet with a service, a route, an application with a key, and a signing key.
    async fn filled() -> Self {
        let place = Self::new();
        let store = place.store().await;
        store.migrate().await.unwrap();
        let admin = Admin::over(store, None);
        admin.put("/admin/routing/services/auth").json(json!({"defaultUrl": "http://a:1"})).send().await.expect(201);
        admin.put("/admin/routing/routes/auth").json(route("/auth", "auth")).send().await.expect(201);
        admin.put("/admin/access/applications/shop").json(json!({"allowedServices": ["*"]})).send().await.expect(201);
        let keys = admin.post("/admin/access/applications/shop/keys").json(json!({"name": "till"}));
        keys.send().await.expect(201);
        let now = Timestamp::from_micros(1);
        let row = SigningKeyRow {
            kid: "kid".to_owned(),
            slot: 1,
            public_jwk: "{}".to_owned(),
            sealed_private_key: vec![1],
            created_at: now,
            active_from: now,
            retired_at: None,
        };
        assert!(admin.store.add_signing_key(&row).await.unwrap());
        place
    }

    fn run(&self, args: &[&str], environment: &[(&str, &str)]) -> Output {
        self.command(args, environment).output().unwrap()
    }

    fn command(&self, args: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_admin-api"));
        command.current_dir(self.path()).args(args).args(["--database-url", "sqlite://gateway.db"]);
        command.env_clear().envs(environment.iter().copied());
        command
    }
}

const WITH_MASTER: &[(&str, &str)] = &[("GATEWAY_MASTER_KEY", MASTER_KEY)];
const WITH_BOTH: &[(&str, &str)] = &[("GATEWAY_MASTER_KEY", MASTER_KEY), ("BACKUP_PASSPHRASE", PASSPHRASE)];

#[track_caller]
fn expect(output: &Output, code: i32, said: &str) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{err}");
    assert!(out.contains(said) || err.contains(said), "{out}{err}");
    assert!(!err.contains(PASSPHRASE) && !err.contains(MASTER_KEY));
}

#[tokio::test]
async fn what_is_backed_up_is_restored_with_its_keys_history_and_audit() {
    for environment in [WITH_MASTER, WITH_BOTH] {
        let (from, to) = (Place::filled().await, Place::new());
        let file = to.path().join("all.backup");
        let file = file.to_str().unwrap();
        expect(&from.run(&["backup", file], environment), 0, "backed up generation 4, sealed with the");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read(file).unwrap().windows(8).any(|window| window == b"argon2id"));
        expect(&to.run(&["restore", file], environment), 0, "as generation 5: gateway_service_config 1");
        let (was, is) = (from.store().await, to.store().await);
        let (before, after) = (was.load().await.unwrap(), is.load().await.unwrap());
        assert_eq!(after.configuration, before.configuration);
        assert_eq!(after.configuration.applications["shop"].api_keys.len(), 1);
        assert_eq!(after.head.digest, before.head.digest);
        assert_eq!(is.signing_keys().await.unwrap(), was.signing_keys().await.unwrap());
        let audit = verify_audit(&*is, &ChainKey::of(&master_key()), None).await.unwrap();
        assert!(matches!(audit, Audited::Unbroken(head) if head.number == was.audit_head().await.unwrap().number + 1));
    }
}

#[tokio::test]
async fn a_database_in_use_is_replaced_only_when_that_is_asked_for() {
    let (from, to) = (Place::filled().await, Place::filled().await);
    let admin = Admin::over(to.store().await, None);
    admin.put("/admin/routing/services/newer").json(json!({"defaultUrl": "http://a:1"})).send().await.expect(201);
    let file = from.path().join("all.backup");
    let file = file.to_str().unwrap();
    expect(&from.run(&["backup", file], WITH_MASTER), 0, "");
    let before = to.store().await.load().await.unwrap();
    expect(&to.run(&["restore", file], WITH_MASTER), 1, "--replace");
    let after = to.store().await.load().await.unwrap();
    assert_eq!((after.head, after.configuration), (before.head, before.configuration));
    expect(&to.run(&["restore", file, "--replace"], WITH_MASTER), 0, "as generation 6");
    let after = to.store().await.load().await.unwrap();
    assert_eq!(after.configuration, from.store().await.load().await.unwrap().configuration);
    assert_eq!(after.head.generation, 6, "behind what the gateways of this database may serve");
    // And goes on from there.
    let admin = Admin::over(to.store().await, None);
    let written = admin.put("/admin/routing/services/next").json(json!({"defaultUrl": "http://a:1"})).send().await;
    assert_eq!(written.expect(201).generation(), 7);
}

#[tokio::test]
async fn a_torn_altered_or_wrongly_opened_backup_changes_nothing() {
    let (from, to) = (Place::filled().await, Place::new());
    expect(&from.run(&["backup", "all.backup"], WITH_BOTH), 0, "");
    let whole = std::fs::read(from.path().join("all.backup")).unwrap();
    let file = to.path().join("bad.backup");
    let restore = |bytes: &[u8], environment: &[(&str, &str)]| {
        std::fs::write(&file, bytes).unwrap();
        to.run(&["restore", "bad.backup"], environment)
    };
    expect(&restore(&whole[..whole.len() - 1], WITH_BOTH), 1, "cut off");
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    expect(&restore(&whole[..header], WITH_BOTH), 1, "cut off");
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    expect(&restore(&altered, WITH_BOTH), 1, "admin-api: the backup");
    let wrong = [("GATEWAY_MASTER_KEY", MASTER_KEY), ("BACKUP_PASSPHRASE", "another passphrase")];
    expect(&restore(&whole, &wrong), 1, "the passphrase is another");
    expect(&restore(&whole, WITH_MASTER), 2, "--passphrase-file");
    expect(&restore(b"PGDMP", WITH_BOTH), 1, "no backup of Gatehouse");
    expect(&to.run(&["restore", "nowhere"], WITH_BOTH), 1, "could not read nowhere");
    assert!(!to.path().join("gateway.db").exists(), "nothing was even made");
}

#[tokio::test]
async fn another_master_key_is_refused_with_what_it_would_cost_and_taken_when_asked() {
    let (from, to) = (Place::filled().await, Place::new());
    let file = from.path().join("all.backup");
    let file = file.to_str().unwrap();
    expect(&from.run(&["backup", file], WITH_BOTH), 0, "");
    let other =
        [("GATEWAY_MASTER_KEY", "another-master-key-of-more-than-32-characters"), ("BACKUP_PASSPHRASE", PASSPHRASE)];
    expect(&to.run(&["restore", file], &other), 1, "API keys and personal tokens would stop working");
    expect(&to.run(&["restore", file, "--other-master-key"], &other), 0, "as generation 5");
    let store = to.store().await;
    assert!(store.signing_keys().await.unwrap().is_empty(), "nobody could open them");
    assert_eq!(store.load().await.unwrap().configuration.services.len(), 1);
}

/// The disk is gone, and the file with the master key was on it.
#[tokio::test]
async fn a_backup_under_a_passphrase_carries_the_master_key_of_the_file() {
    let (from, to) = (Place::filled().await, Place::new());
    let key = from.path().join("master.key");
    std::fs::write(&key, MASTER_KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = to.path().join("all.backup");
    let file = file.to_str().unwrap();
    let passphrase = to.path().join("passphrase");
    std::fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
    let passphrase = ["--passphrase-file", passphrase.to_str().unwrap()];
    expect(&from.run(&[&["backup", file], &passphrase[..]].concat(), &[]), 0, "sealed with the passphrase");
    expect(&to.run(&[&["restore", file, "--write-master-key", "key"], &passphrase[..]].concat(), &[]), 0, "");
    assert_eq!(std::fs::read_to_string(to.path().join("key")).unwrap().trim(), MASTER_KEY);
    expect(&to.run(&[&["restore", file], &passphrase[..]].concat(), &[]), 0, "as generation 5");
    let placed = std::fs::read_to_string(to.path().join("master.key")).unwrap();
    assert_eq!(MasterKey::of(placed.trim()).unwrap().fingerprint(), master_key().fingerprint());
    assert_eq!(to.store().await.signing_keys().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_backup_goes_through_a_pipe() {
    let (from, to) = (Place::filled().await, Place::new());
    // So much that it does not fit into one part: what is cut off was half restored by then.
    let uses: Vec<_> = (0..40_000).map(|_| (Id::new(new_id()), Timestamp::from_micros(1))).collect();
    from.store().await.record_key_usage(&uses).await.unwrap();
    let made = from.run(&["backup", "-"], WITH_MASTER);
    expect(&made, 0, "backed up generation 4");
    assert!(made.stdout.starts_with(b"GATEHOUSE-BACKUP "));
    for (bytes, code) in [(&made.stdout[..made.stdout.len() - 40], 1), (&made.stdout[..], 0)] {
        let mut command = to.command(&["restore", "-"], WITH_MASTER);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A child that refuses early closes its end.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes);
        expect(&child.wait_with_output().unwrap(), code, if code == 0 { "restored" } else { "cut off" });
        assert_eq!(to.store().await.head().await.unwrap().generation, if code == 0 { 5 } else { 0 });
    }
}

#[tokio::test]
async fn what_can_not_be_done_is_told_by_the_exit_code() {
    let (filled, empty) = (Place::filled().await, Place::new());
    expect(&empty.run(&["backup", "x"], WITH_MASTER), 1, "admin-api: ");
    assert!(!empty.path().join("gateway.db").exists(), "a mistyped name makes no database");
    expect(&filled.run(&["backup", "x"], &[]), 2, "there is no master key");
    expect(&filled.run(&["backup", "nowhere/x"], WITH_MASTER), 1, "could not write nowhere/x");
    let short = [("GATEWAY_MASTER_KEY", MASTER_KEY), ("BACKUP_PASSPHRASE", "short")];
    expect(&filled.run(&["backup", "x"], &short), 2, "has 5 characters");
    expect(&filled.run(&["backup"], WITH_MASTER), 2, "Usage");
    let names: Vec<_> = std::fs::read_dir(filled.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name.to_str().unwrap().contains(".db")), "{names:?}");
}
