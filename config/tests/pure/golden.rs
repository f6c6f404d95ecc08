//! Golden files: a document above the dashed line, below it what it compiles to, or everything that is wrong with it.
//! `UPDATE_GOLDEN=1` writes the lower halves anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use gateway_config::document;
use gateway_config::model::{Configuration, Edit, Item, Problem};
use gateway_config::snapshot::compile;

const LINE: &str = "----------\n";

#[test]
fn every_document_compiles_to_what_stands_below_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "golden files are missing from {}", folder.display());
    let mut wrong = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (document, expected) = text.split_once(LINE).unwrap_or((&text, ""));
        let found = outcome(document);
        if found == expected {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, format!("{document}{LINE}{found}")).unwrap();
        } else {
            let name = file.file_name().unwrap().display();
            writeln!(wrong, "=== {name}\n--- expected\n{expected}--- found\n{found}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 takes what was found for right:\n{wrong}");
}

fn outcome(document: &str) -> String {
    let value = document::parse(document).unwrap();
    let (mut edits, mut unreadable) = (Vec::new(), Vec::new());
    for proposal in document::proposals(&value).unwrap() {
        match Item::from_json(proposal.kind, proposal.value) {
            Ok(item) => edits.push(Edit::Put(item)),
            Err(problem) => unreadable.push(problem),
        }
    }
    if !unreadable.is_empty() {
        return listed("problem", &unreadable);
    }
    let mut configuration = Configuration::default();
    for edit in &edits {
        if let Edit::Put(item) = edit {
            configuration.put(item.clone());
        }
    }
    match compile(&configuration, 1) {
        Ok(snapshot) => snapshot.describe() + &listed("warning", &snapshot.warnings(&edits)),
        Err(problems) => listed("problem", &problems),
    }
}

fn listed(word: &str, problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |out, problem| format!("{out}{word} {problem}\n"))
}
