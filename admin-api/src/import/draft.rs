//! The proposal while it grows. At its end it is compiled, and what does not compile is taken out and told of: what an import
//! answers can always be applied to an empty fleet.

use std::collections::{HashMap, HashSet};

use gateway_config::document;
use gateway_config::model::{Configuration, Item, Kind, Problem};
use gateway_config::snapshot::compile;
use serde_json::{Map, Value, json};

use super::foreign::{fields, is_nothing, text, texts};
use super::names::Names;
use super::path::shape;
use super::{Format, Imported};

/// More than this is no configuration that one gateway serves, and a small document must not unfold into a huge one.
const MOST_ENTITIES: usize = 50_000;

/// So many are told of; whoever mends the first ones asks again.
const MOST_TOLD: usize = 5_000;

const SECTIONS: [Kind; 4] = [Kind::Service, Kind::Route, Kind::Application, Kind::Issuer];

#[derive(Debug)]
pub(super) struct Draft {
    format: Format,
    entries: Vec<Entry>,
    names: HashMap<Kind, Names>,
    lost: Told,
    warnings: Told,
    crowds: HashMap<(String, String), Crowd>,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    name: String,
    /// Where it came from.
    origin: String,
    value: Value,
}

#[derive(Debug, Default)]
struct Told {
    problems: Vec<Problem>,
    /// How many are not among them.
    more: usize,
}

/// Routes under one host and pattern and with the same conditions.
#[derive(Debug, Default)]
struct Crowd {
    methods: HashSet<String>,
    any_method: bool,
    /// For each priority that is taken, a lower one that may be free.
    below: HashMap<i64, i64>,
}

impl Crowd {
    /// Some request may match this route and one of those.
    fn overlaps(&self, methods: &[String]) -> bool {
        let is_any = methods.is_empty();
        (is_any && self.any_method) || methods.iter().any(|method| self.methods.contains(method))
    }

    fn free_from(&mut self, priority: i64) -> i64 {
        let mut free = priority;
        while let Some(below) = self.below.get(&free) {
            free = *below;
        }
        if free != priority {
            // So that the next one need not walk the whole way again.
            self.below.insert(priority, free);
        }
        free
    }

    fn join(&mut self, methods: &[String], priority: i64) {
        self.any_method |= methods.is_empty();
        self.methods.extend(methods.iter().cloned());
        self.below.insert(priority, priority.saturating_sub(1));
    }
}

impl Told {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.problems.len() < MOST_TOLD {
            self.problems.push(Problem::new(path, message));
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        if self.more > 0 {
            self.problems.push(Problem::new("", format!("and {} more, which are not listed", self.more)));
        }
        self.problems
    }
}

impl Draft {
    pub(super) fn new(format: Format) -> Self {
        let (entries, names, crowds) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { format, entries, names, lost: Told::default(), warnings: Told::default(), crowds }
    }

    /// A name for an entity of this kind that no other has.
    pub(super) fn name(&mut self, kind: Kind, wanted: &str) -> String {
        self.names.entry(kind).or_default().take(wanted, kind.word())
    }

    pub(super) fn add(&mut self, kind: Kind, name: String, origin: &str, mut value: Value) -> Result<(), Vec<Problem>> {
        if self.entries.len() >= MOST_ENTITIES {
            let message = format!("the document comes to more than {MOST_ENTITIES} entities; import it in parts");
            return Err(vec![Problem::new("", message)]);
        }
        value[kind.name_field()] = json!(name);
        if kind == Kind::Route {
            self.tell_apart(&mut value, origin);
        }
        self.entries.push(Entry { kind, name, origin: origin.to_owned(), value });
        Ok(())
    }

    /// This has no counterpart.
    pub(super) fn lose(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.lost.add(path, message);
    }

    /// This has one that differs.
    pub(super) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.add(path, message);
    }

    /// Every field that nobody reads, and that says something, is told of.
    pub(super) fn lose_unknown(&mut self, value: &Value, path: &str, known: &[&str]) {
        for (name, field) in fields(value) {
            if !known.contains(&name) && !is_nothing(field) {
                self.lose(format!("{path}/{name}"), "has no counterpart");
            }
        }
    }

    /// Routes that would be ambiguous get priorities in the order of the document.
    fn tell_apart(&mut self, route: &mut Value, origin: &str) {
        let Some(shape) = text(route, "path").and_then(shape) else { return };
        let methods: Vec<String> = texts(route, "methods").map(str::to_owned).collect();
        let conditions = route.get("headers").map(Value::to_string).unwrap_or_default();
        let mut hosts: Vec<&str> = texts(route, "hosts").collect();
        if hosts.is_empty() {
            hosts.push("");
        }
        let places: Vec<(String, String)> =
            hosts.into_iter().map(|host| (host.to_owned(), format!("{shape} {conditions}"))).collect();
        let own = route.get("priority").and_then(Value::as_i64).unwrap_or(0);
        let mut priority = own;
        loop {
            let before = priority;
            for place in &places {
                let crowd = self.crowds.get_mut(place).filter(|crowd| crowd.overlaps(&methods));
                priority = crowd.map_or(priority, |crowd| crowd.free_from(priority));
            }
            if priority == before {
                break;
            }
        }
        for place in places {
            self.crowds.entry(place).or_default().join(&methods, priority);
        }
        if priority != own {
            route["priority"] = json!(priority);
            self.warn(
                origin,
                "matches what an earlier route matches; it got a lower priority, so the earlier one goes first",
            );
        }
    }

    /// The proposal, without what does not compile.
    pub(super) fn finish(mut self) -> Result<Imported, Vec<Problem>> {
        while let Err(problems) = self.compiled() {
            if !self.take_out(&problems) {
                return Err(problems);
            }
        }
        let document = self.document();
        Ok(Imported {
            format: self.format,
            document,
            not_carried_over: self.lost.finish(),
            warnings: self.warnings.finish(),
        })
    }

    fn compiled(&self) -> Result<(), Vec<Problem>> {
        let proposals = document::proposals(&self.document())
            .map_err(|error| vec![Problem::new("", format!("could not write the document: {error}"))])?;
        let (mut configuration, mut problems) = (Configuration::default(), Vec::new());
        for proposal in proposals {
            match Item::from_json(proposal.kind, proposal.value) {
                Ok(item) => drop(configuration.put(item)),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { compile(&configuration, 1).map(drop) } else { Err(problems) }
    }

    /// Takes out the entities that the problems are about; `false` when they are about none.
    fn take_out(&mut self, problems: &[Problem]) -> bool {
        let mut reasons: HashMap<(&str, &str), String> = HashMap::new();
        for problem in problems {
            let mut parts = problem.path.splitn(3, '/');
            let (Some(plural), Some(name)) = (parts.next(), parts.next()) else { continue };
            let field = parts.next().map(|field| format!("{field}: ")).unwrap_or_default();
            reasons.entry((plural, name)).or_insert_with(|| format!("{field}{}", problem.message));
        }
        let before = self.entries.len();
        let lost = &mut self.lost;
        self.entries.retain(|entry| {
            let Some(reason) = reasons.get(&(entry.kind.plural(), entry.name.as_str())) else { return true };
            let what = format!("{} \"{}\" is left out, for it would not be valid: {reason}", entry.kind, entry.name);
            lost.add(&entry.origin, what);
            false
        });
        self.entries.len() < before
    }

    fn document(&self) -> Value {
        let mut sections = Map::new();
        for kind in SECTIONS {
            let entries = self.entries.iter().filter(|entry| entry.kind == kind);
            let members: Vec<Value> = entries.map(|entry| entry.value.clone()).collect();
            sections.insert(kind.plural().to_owned(), Value::Array(members));
        }
        Value::Object(sections)
    }
}
