//! The arrows between the rooms (docs/architecture.md): which crate may know which, and inside `config` which module. Read from
//! the manifests and from the sources' paths; `e2e/rooms.rs` holds the tree to it.

mod paths;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use paths::paths_in;

/// A crate of the workspace: its package name, and the names of all that it depends on, for whatever purpose.
#[derive(Clone, Debug, Default)]
pub struct Package {
    pub name: String,
    pub dependencies: BTreeSet<String>,
}

/// A source file, its path seen from the workspace's root.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// The crates of ours that each room may depend on. `e2e` and `benches` stand outside and may know all.
const MAY_KNOW: [(&str, &[&str]); 4] =
    [("gateway-config", &[]), ("gateway", &["gateway-config"]), ("admin-api", &["gateway-config"]), ("backends", &[])];

const OURS: [&str; 6] = ["gateway-config", "gateway", "admin-api", "backends", "benches", "e2e"];

/// Crates of others that stay in some rooms; a name stands for all crates that begin with it.
const STAYS_IN: [(&str, &[&str]); 3] = [
    ("sqlx", &["gateway-config", "backends", "benches", "e2e"]),
    ("pingora", &["gateway", "benches"]),
    ("axum", &["admin-api", "backends", "benches", "e2e"]),
];

/// Folders of sources, and the first words of paths that must not occur in them.
const MUST_NOT_NAME: [(&str, &[&str]); 7] = [
    ("gateway/", &["admin_api", "backends", "sqlx", "axum"]),
    ("admin-api/", &["gateway", "backends", "sqlx", "pingora"]),
    ("backends/", &["gateway", "gateway_config", "admin_api", "pingora"]),
    ("config/", &["gateway", "admin_api", "backends", "pingora", "axum"]),
    ("config/src/store/", &["crate::snapshot"]),
    ("config/src/snapshot/", &["crate::store"]),
    ("config/src/model/", &["crate::store", "crate::snapshot"]),
];

/// The only folder of `config` that may name sqlx.
const SQL: &str = "config/src/store/";

/// Every dependency that points the wrong way.
pub fn wrong_dependencies(packages: &[Package]) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in packages {
        let rule = MAY_KNOW.iter().find(|(name, _)| *name == package.name);
        for dependency in &package.dependencies {
            let ours = OURS.contains(&dependency.as_str());
            if ours && rule.is_some_and(|(_, allowed)| !allowed.contains(&dependency.as_str())) {
                wrong.push(format!("{} must not depend on {dependency}", package.name));
            }
            let stays = STAYS_IN.iter().find(|(prefix, _)| begins_with_word(dependency, prefix));
            if stays.is_some_and(|(_, rooms)| !rooms.contains(&package.name.as_str())) {
                wrong.push(format!("{} must not depend on {dependency}", package.name));
            }
        }
    }
    wrong
}

/// Every path in the sources that reaches into a room that its own must not know.
pub fn wrong_paths(sources: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in sources {
        let mut forbidden: Vec<&str> = Vec::new();
        for (folder, names) in MUST_NOT_NAME {
            if source.path.starts_with(folder) {
                forbidden.extend(names);
            }
        }
        if source.path.starts_with("config/src/") && !source.path.starts_with(SQL) {
            forbidden.push("sqlx");
        }
        let paths = paths_in(&source.text, &module_of(&source.path));
        let bad: BTreeSet<_> = paths.iter().filter(|path| forbidden.iter().any(|name| leads_to(path, name))).collect();
        wrong.extend(bad.into_iter().map(|path| format!("{} must not name {path}", source.path)));
    }
    wrong
}

/// Whether the names of two folders of migrations differ, and in what.
pub fn unpaired_migrations(postgres: &BTreeSet<String>, sqlite: &BTreeSet<String>) -> Vec<String> {
    let lonely = |ours: &BTreeSet<String>, theirs: &BTreeSet<String>, place: &str| {
        let missing: Vec<_> = ours.difference(theirs).map(|name| format!("{name} is only in {place}")).collect();
        missing
    };
    let mut wrong = lonely(postgres, sqlite, "postgres");
    wrong.extend(lonely(sqlite, postgres, "sqlite"));
    let mut numbers = BTreeMap::new();
    for name in postgres {
        let number = name.split('_').next().unwrap_or_default();
        if number.len() != 4 || !number.chars().all(|digit| digit.is_ascii_digit()) {
            wrong.push(format!("{name} does not begin with four digits"));
        }
        if let Some(other) = numbers.insert(number, name) {
            wrong.push(format!("{other} and {name} have one number"));
        }
    }
    wrong
}

/// What `cargo metadata --no-deps` says of the workspace's crates.
pub fn packages_of(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let package = |package: &Value| Package {
        name: text(package),
        dependencies: package["dependencies"].as_array().into_iter().flatten().map(text).collect(),
    };
    packages.iter().map(package).collect()
}

/// Every Rust source in the workspace's `*/src`.
pub fn sources_of(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for room in fs::read_dir(root).expect("the workspace can be read").filter_map(Result::ok) {
        collect(root, &room.path().join("src"), &mut sources);
    }
    sources
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()));
            let seen_from_root = path.strip_prefix(root).expect("a source lies in the workspace");
            sources.push(Source { path: seen_from_root.display().to_string(), text });
        }
    }
}

/// `config/src/store/postgres/mod.rs` → `store`, `postgres`.
fn module_of(path: &str) -> Vec<String> {
    let Some((_, inside)) = path.split_once("/src/") else { return Vec::new() };
    let mut words: Vec<_> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if words.last().is_some_and(|word| ["mod", "lib", "main"].contains(&word.as_str())) {
        words.pop();
    }
    words
}

/// Whether a path begins with the words of `name`; `pingora` stands for `pingora_proxy` too.
fn leads_to(path: &str, name: &str) -> bool {
    path == name
        || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"))
        || (["pingora", "sqlx", "axum"].contains(&name)
            && path.split("::").next().is_some_and(|first| begins_with_word(first, name)))
}

fn begins_with_word(name: &str, word: &str) -> bool {
    name == word || name.strip_prefix(word).is_some_and(|rest| rest.starts_with(['-', '_']))
}
