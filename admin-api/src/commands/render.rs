//! What changes, as people read it in a terminal: a line an entity, and a sum below. The only place that does so.

use std::fmt::Write;
use std::io::IsTerminal;

use gateway_config::change::{Diff, Update};
use gateway_config::model::{Child, Kind, NodeState};
use serde_json::Value;

use crate::api::{Report, WaitingFor};

/// The fields that are told of one entity.
const MOST_FIELDS: usize = 6;
/// Characters of a value. What is longer is named, but not shown.
const LONGEST_VALUE: usize = 40;

/// Whether it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tense {
    Would,
    Did,
}

/// Colours, where somebody sees them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) is_on: bool,
}

impl Paint {
    pub(super) fn for_stdout() -> Self {
        // https://no-color.org: set and not empty.
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_on: std::io::stdout().is_terminal() && !is_unwanted }
    }

    fn line(self, colour: &str, line: &str) -> String {
        if self.is_on { format!("\x1b[{colour}m{line}\x1b[0m\n") } else { format!("{line}\n") }
    }
}

pub(super) fn report(report: &Report, tense: Tense, paint: Paint) -> String {
    let Diff { create, update, delete } = &report.diff;
    let mut text = String::new();
    for whole in create {
        text.push_str(&paint.line("32", &format!("+ {} {}", whole.kind, clean(&whole.name))));
    }
    for update in update {
        text.push_str(&paint.line("33", &updated(update)));
    }
    for whole in delete {
        text.push_str(&paint.line("31", &format!("- {} {}", whole.kind, clean(&whole.name))));
    }
    let (created, updated, deleted, unchanged) = (create.len(), update.len(), delete.len(), report.unchanged);
    // Writing to a string can't fail.
    let _ = match tense {
        Tense::Would => {
            writeln!(text, "{created} to create, {updated} to change, {deleted} to delete, {unchanged} unchanged")
        }
        Tense::Did if report.diff.is_empty() => {
            writeln!(text, "nothing to do, {unchanged} unchanged; generation {} still holds", report.generation)
        }
        Tense::Did => writeln!(
            text,
            "{created} created, {updated} changed, {deleted} deleted, {unchanged} unchanged; generation {}",
            report.generation
        ),
    };
    text
}

/// A node that does not serve what was written.
pub(super) fn waiting(node: &WaitingFor) -> String {
    let WaitingFor { node, state, generation } = node;
    let state = match state {
        NodeState::Live => "live",
        NodeState::Silent => "silent",
        NodeState::Left => "gone",
    };
    format!("node {node} does not serve it yet: it is {state}, at generation {generation}")
}

/// Without what would steer the terminal.
pub(super) fn clean(text: &str) -> String {
    let steers = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut clean, letter| {
        if steers(letter) {
            clean.extend(letter.escape_unicode());
        } else {
            clean.push(letter);
        }
        clean
    })
}

fn updated(update: &Update) -> String {
    let mut fields: Vec<String> = update.changed.iter().take(MOST_FIELDS).map(|path| field(update, path)).collect();
    if let Some(more @ 1..) = update.changed.len().checked_sub(MOST_FIELDS) {
        fields.push(format!("and {more} more"));
    }
    format!("~ {} {}  ({})", update.kind, clean(&update.name), fields.join(", "))
}

fn field(update: &Update, path: &str) -> String {
    let (before, after) = (at(update.kind, &update.before, path), at(update.kind, &update.after, path));
    let name = clean(path);
    match (before, after) {
        (None, Some(value)) if value.is_object() => format!("{name} added"),
        (Some(value), None) if value.is_object() => format!("{name} removed"),
        (before, after) => match (short(before), short(after)) {
            (Some(before), Some(after)) => format!("{name} {before} → {after}"),
            _ => name,
        },
    }
}

/// `None` for what is too long.
fn short(value: Option<&Value>) -> Option<String> {
    let text = match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => clean(&value.to_string()),
    };
    (text.chars().count() <= LONGEST_VALUE).then_some(text)
}

/// What stands at a path of a [`Diff`]. Names of members may hold slashes themselves.
fn at<'v>(kind: Kind, entity: &'v Value, path: &str) -> Option<&'v Value> {
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = entity.get(first)?;
    let child = kind.children().iter().find(|child| child.field == first);
    rest.map_or(Some(value), |rest| below(child, value, rest))
}

fn below<'v>(child: Option<&Child>, value: &'v Value, path: &str) -> Option<&'v Value> {
    if let (Some(child), Value::Array(members)) = (child, value) {
        for member in members {
            let Some(rest) = member.get(child.key).and_then(Value::as_str).and_then(|key| path.strip_prefix(key))
            else {
                continue;
            };
            if rest.is_empty() {
                return Some(member);
            }
            if let Some(found) = rest.strip_prefix('/').and_then(|rest| below(None, member, rest)) {
                return Some(found);
            }
        }
    }
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = match value {
        Value::Array(members) => members.get(first.parse::<usize>().ok()?)?,
        other => other.get(first)?,
    };
    rest.map_or(Some(value), |rest| below(None, value, rest))
}

#[cfg(test)]
mod tests {
    use gateway_config::model::EntityChange;
    use serde_json::json;

    use super::*;

    fn sample() -> Report {
        let change = |kind, name: &str, before: Option<Value>, after: Option<Value>| EntityChange {
            kind,
            name: name.to_owned(),
            before,
            after,
        };
        let service = |weight: u32, url: &str| {
            let old = json!({"version": "v1", "weight": 1});
            json!({"defaultUrl": url, "maintenance": null, "versions": [old, {"version": "v2", "weight": weight}]})
        };
        let entry = |rate: u32| json!({"whitelist": [{"endpointPath": "/a/{*rest}", "rateLimit": rate}]});
        let mut more = service(9, &"x".repeat(50));
        more["versions"][0] = json!({"version": "v3"});
        more["maintenance"] = json!({"statusCode": 503});
        let fields = |value: u32| Value::Object((0..8).map(|at| (format!("f{at}"), json!(value))).collect());
        Report {
            generation: 7,
            dry_run: true,
            diff: Diff::of([
                change(Kind::Service, "auth", None, Some(json!({}))),
                change(Kind::Route, "orders", Some(json!({"priority": 0})), Some(json!({"priority": 10}))),
                change(Kind::Service, "shop", Some(service(1, "y")), Some(more)),
                change(Kind::Application, "app", Some(entry(1)), Some(entry(2))),
                change(Kind::Defaults, "defaults", Some(fields(1)), Some(fields(2))),
                change(Kind::Queue, "mail\u{1b}[2J\u{202e}", Some(json!({})), None),
            ]),
            unchanged: 14,
            warnings: Vec::new(),
        }
    }

    const GOLDEN: &str = "\
+ service auth
~ route orders  (priority 0 → 10)
~ service shop  (defaultUrl, maintenance none → {\"statusCode\":503}, versions/v1 removed, versions/v2/weight 1 → 9, versions/v3 added)
~ application app  (whitelist//a/{*rest}/rateLimit 1 → 2)
~ defaults defaults  (f0 1 → 2, f1 1 → 2, f2 1 → 2, f3 1 → 2, f4 1 → 2, f5 1 → 2, and 2 more)
- queue mail\\u{1b}[2J\\u{202e}
1 to create, 4 to change, 1 to delete, 14 unchanged
";

    #[test]
    fn a_diff_reads_like_this() {
        assert_eq!(report(&sample(), Tense::Would, Paint { is_on: false }), GOLDEN);
    }

    #[test]
    fn what_was_done_is_told_with_its_generation() {
        let last = |report: &Report| {
            let text = super::report(report, Tense::Did, Paint { is_on: false });
            text.lines().last().unwrap().to_owned()
        };
        assert_eq!(last(&sample()), "1 created, 4 changed, 1 deleted, 14 unchanged; generation 7");
        let nothing = Report { diff: Diff::default(), ..sample() };
        assert_eq!(last(&nothing), "nothing to do, 14 unchanged; generation 7 still holds");
    }

    #[test]
    fn colour_goes_around_whole_lines() {
        let text = report(&sample(), Tense::Would, Paint { is_on: true });
        assert!(text.starts_with("\x1b[32m+ service auth\x1b[0m\n\x1b[33m~ route orders"), "{text}");
        assert!(text.ends_with("\n1 to create, 4 to change, 1 to delete, 14 unchanged\n"), "{text}");
    }
}
