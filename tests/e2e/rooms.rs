//! The rooms know each other only along the arrows of the design, and the two sets of migrations go together.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use e2e::rooms::{Package, Source, packages_of, sources_of, unpaired_migrations, wrong_dependencies, wrong_paths};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

fn package(name: &str, dependencies: &[&str]) -> Package {
    let dependencies = dependencies.iter().map(|&name| name.to_owned()).collect();
    Package { name: name.to_owned(), dependencies }
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn crates_depend_on_each_other_one_way() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).current_dir(root());
    let output = cargo.output().expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let packages = packages_of(&serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON"));
    assert!(
        packages.iter().any(|package| package.name == "gateway" && package.dependencies.contains("gateway-config"))
    );
    assert_eq!(wrong_dependencies(&packages), Vec::<String>::new());
}

#[test]
fn sources_name_only_the_rooms_that_they_may_know() {
    let sources = sources_of(root());
    assert!(sources.iter().any(|source| source.path == "config/src/store/mod.rs"), "the sources were not found");
    assert_eq!(wrong_paths(&sources), Vec::<String>::new());
}

#[test]
fn migrations_come_in_pairs() {
    let names_in = |folder: &str| -> BTreeSet<String> {
        let folder = root().join("migrations").join(folder);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("could not read {folder:?}: {error}"));
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| Path::new(name).extension().is_some_and(|end| end == "sql")).collect()
    };
    let (postgres, sqlite) = (names_in("postgres"), names_in("sqlite"));
    assert!(!postgres.is_empty(), "there are no migrations");
    assert_eq!(unpaired_migrations(&postgres, &sqlite), Vec::<String>::new());
}

#[test]
fn the_checker_refuses_dependencies_against_the_arrows() {
    let wrong = wrong_dependencies(&[
        package("gateway", &["gateway-config", "pingora", "admin-api", "sqlx"]),
        package("admin-api", &["gateway-config", "axum", "gateway", "pingora-http"]),
        package("gateway-config", &["sqlx", "axum-core"]),
        package("backends", &["sqlx", "axum", "gateway-config"]),
        package("e2e", &["gateway", "admin-api", "sqlx"]),
    ]);
    let expected = [
        "gateway must not depend on admin-api",
        "gateway must not depend on sqlx",
        "admin-api must not depend on gateway",
        "admin-api must not depend on pingora-http",
        "gateway-config must not depend on axum-core",
        "backends must not depend on gateway-config",
    ];
    assert_eq!(wrong.iter().collect::<BTreeSet<_>>(), expected.map(str::to_owned).iter().collect());
}

#[test]
fn the_checker_refuses_paths_against_the_arrows() {
    let wrong = wrong_paths(&[
        source("gateway/src/proxy.rs", "use pingora::prelude::*; fn f() { sqlx::query(\"\"); }"),
        source("gateway/src/main.rs", "fn main() { gateway::run() } // admin_api::run"),
        source("admin-api/src/api/routes.rs", "use axum::Router; use gateway::Snapshot;"),
        source("backends/src/lib.rs", "use gateway_config::model;"),
        source("config/src/change.rs", "use crate::{store::Store, snapshot::compile}; use sqlx::PgPool;"),
        source("config/src/store/sqlite/mod.rs", "use sqlx::SqlitePool; use super::super::snapshot::compile;"),
        source("config/src/snapshot/mod.rs", "use crate::model::Route; use crate::store;"),
        source("config/src/model/route.rs", "type X = crate::snapshot::Snapshot;"),
    ]);
    let expected = [
        "gateway/src/proxy.rs must not name sqlx::query",
        "admin-api/src/api/routes.rs must not name gateway::Snapshot",
        "backends/src/lib.rs must not name gateway_config::model",
        "config/src/change.rs must not name sqlx::PgPool",
        "config/src/store/sqlite/mod.rs must not name crate::snapshot::compile",
        "config/src/snapshot/mod.rs must not name crate::store",
        "config/src/model/route.rs must not name crate::snapshot::Snapshot",
    ];
    assert_eq!(wrong, expected);
}

#[test]
fn the_checker_refuses_migrations_without_a_partner() {
    let wrong = unpaired_migrations(
        &names(&["0001_first.sql", "0002_second.sql", "0002_again.sql", "third.sql"]),
        &names(&["0001_first.sql", "0002_second.sql", "0002_again.sql", "0003_third.sql"]),
    );
    let expected = [
        "third.sql is only in postgres",
        "0003_third.sql is only in sqlite",
        "0002_again.sql and 0002_second.sql have one number",
        "third.sql does not begin with four digits",
    ];
    assert_eq!(wrong.iter().collect::<BTreeSet<_>>(), expected.map(str::to_owned).iter().collect());
}
