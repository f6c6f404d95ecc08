//! Writing a document, entity by entity: a large fleet's is never in memory as a whole. The same configuration always gives the same
//! text, in any fleet: everything stands in the order of names, without ids and times.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value};

use crate::model::{Configuration, Item, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Yaml,
}

/// The pieces of a document, which make it up when they are written one behind the other.
#[derive(Debug)]
pub struct Export {
    form: Form,
    /// The sections that are still to come, the next one last, each with its entities.
    sections: Vec<(Kind, std::vec::IntoIter<Item>)>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Begin,
    /// Before a section; whether one went before it.
    Section(bool),
    /// In a section; whether an entity of it went before.
    Entity(bool),
    End,
}

impl Export {
    /// Of these sections, in the order of [`Kind::ALL`].
    #[must_use]
    pub fn new(configuration: &Configuration, sections: &[Kind], form: Form) -> Self {
        let mut of_kind: Vec<(Kind, Vec<Item>)> =
            Kind::ALL.into_iter().filter(|kind| sections.contains(kind)).map(|kind| (kind, Vec::new())).collect();
        for item in configuration.items() {
            if let Some((_, items)) = of_kind.iter_mut().find(|(kind, _)| *kind == item.kind()) {
                items.push(item);
            }
        }
        let sections = of_kind.into_iter().rev().map(|(kind, items)| (kind, items.into_iter())).collect();
        Self { form, sections, place: Place::Begin }
    }

    /// The document as a whole.
    #[must_use]
    pub fn into_value(self) -> Value {
        let section = |(kind, items): (Kind, std::vec::IntoIter<Item>)| {
            let mut items = items.map(|item| content(&item));
            let value = match kind {
                Kind::Defaults => items.next().unwrap_or_default(),
                _ => Value::Array(items.collect()),
            };
            (kind.plural().to_owned(), value)
        };
        Value::Object(self.sections.into_iter().rev().map(section).collect())
    }

    fn json(&mut self) -> Option<String> {
        let comma = |is_behind: bool| if is_behind { ",\n" } else { "\n" };
        match self.place {
            Place::Begin => {
                self.place = Place::Section(false);
                Some("{".to_owned())
            }
            Place::Section(is_behind) => {
                let Some((kind, items)) = self.sections.last_mut() else {
                    self.place = Place::End;
                    return Some("\n}\n".to_owned());
                };
                let name = kind.plural();
                if *kind == Kind::Defaults {
                    let text = items.next().map_or_else(|| "{}".to_owned(), |item| json(&item));
                    self.sections.pop();
                    self.place = Place::Section(true);
                    return Some(format!("{}\"{name}\": {text}", comma(is_behind)));
                }
                self.place = Place::Entity(false);
                Some(format!("{}\"{name}\": [", comma(is_behind)))
            }
            Place::Entity(is_behind) => {
                if let Some(item) = self.sections.last_mut().and_then(|(_, items)| items.next()) {
                    self.place = Place::Entity(true);
                    return Some(format!("{}{}", comma(is_behind), json(&item)));
                }
                self.sections.pop();
                self.place = Place::Section(true);
                Some(if is_behind { "\n]".to_owned() } else { "]".to_owned() })
            }
            Place::End => None,
        }
    }

    fn yaml(&mut self) -> Option<String> {
        loop {
            match self.place {
                Place::Begin => {
                    self.place = Place::Section(false);
                    if self.sections.is_empty() {
                        self.place = Place::End;
                        return Some("{}\n".to_owned());
                    }
                }
                Place::Section(_) => {
                    let Some((kind, items)) = self.sections.last_mut() else {
                        self.place = Place::End;
                        return None;
                    };
                    let name = kind.plural();
                    if *kind == Kind::Defaults {
                        let item = items.next();
                        self.sections.pop();
                        return item.map(|item| yaml_section(name, &item));
                    }
                    if items.len() == 0 {
                        self.sections.pop();
                        return Some(format!("{name}: []\n"));
                    }
                    self.place = Place::Entity(false);
                    return Some(format!("{name}:\n"));
                }
                Place::Entity(_) => {
                    if let Some(item) = self.sections.last_mut().and_then(|(_, items)| items.next()) {
                        return Some(yaml(&item));
                    }
                    self.sections.pop();
                    self.place = Place::Section(true);
                }
                Place::End => return None,
            }
        }
    }
}

impl Iterator for Export {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.form {
            Form::Json => self.json(),
            Form::Yaml => self.yaml(),
        }
    }
}

fn json(item: &Item) -> String {
    // What is a `Value` already can always be written.
    serde_json::to_string(&Ordered::entity(item.kind(), &content(item))).unwrap_or_default()
}

/// As a member of a list.
fn yaml(item: &Item) -> String {
    serde_saphyr::to_string(&[Ordered::entity(item.kind(), &content(item))]).unwrap_or_default()
}

fn yaml_section(name: &str, item: &Item) -> String {
    let section = Map::from_iter([(name.to_owned(), content(item))]);
    serde_saphyr::to_string(&Ordered { value: &Value::Object(section), first: None }).unwrap_or_default()
}

/// What an entity says that holds in any fleet: without ids and times, and without the members that only calls of their own write.
fn content(item: &Item) -> Value {
    let mut value = item.to_json();
    if let Some(entity) = value.as_object_mut() {
        take_stamps(entity);
        for child in item.kind().children() {
            if child.read_only {
                entity.remove(child.field);
            }
            let members = entity.get_mut(child.field).and_then(Value::as_array_mut).into_iter().flatten();
            members.filter_map(Value::as_object_mut).for_each(take_stamps);
        }
    }
    value
}

fn take_stamps(object: &mut Map<String, Value>) {
    for stamp in ["id", "createdAt", "updatedAt"] {
        object.remove(stamp);
    }
}

/// A value whose objects have their fields in the order of names; whether `Value`'s own are is decided by features of other crates.
struct Ordered<'v> {
    value: &'v Value,
    /// The field that goes before all others.
    first: Option<&'static str>,
}

impl<'v> Ordered<'v> {
    fn entity(kind: Kind, value: &'v Value) -> Self {
        Self { value, first: Some(kind.name_field()) }
    }

    fn inner(value: &'v Value) -> Self {
        Self { value, first: None }
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(fields) => {
                let mut names: Vec<&String> = fields.keys().collect();
                names.sort_unstable_by_key(|name| (Some(name.as_str()) != self.first, *name));
                let mut map = serializer.serialize_map(Some(names.len()))?;
                for name in names {
                    map.serialize_entry(name, &Ordered::inner(fields.get(name).unwrap_or(&Value::Null)))?;
                }
                map.end()
            }
            Value::Array(members) => {
                let mut list = serializer.serialize_seq(Some(members.len()))?;
                for member in members {
                    list.serialize_element(&Ordered::inner(member))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::document::{parse, parse_json};

    const ODD: [&str; 22] = [
        "yes",
        "no",
        "on",
        "null",
        "~",
        "",
        " ",
        "1",
        "1.0",
        "0x1f",
        "1e3",
        "- a",
        "a: b",
        "# a",
        "a #b",
        "'",
        "\"",
        "{a}",
        "*a",
        "&a",
        "a\nb\n",
        "\t\u{85}\u{2028}é🙂\\",
    ];

    fn configuration() -> Configuration {
        let mut configuration = Configuration::default();
        let stamps = |mut value: Value| {
            value["id"] = json!("0190f5d2-0000-7000-8000-000000000001");
            value["updatedAt"] = json!("2026-01-01T00:00:00Z");
            value
        };
        for (at, odd) in ODD.iter().enumerate() {
            let version = stamps(json!({"version": "v1", "url": odd}));
            let name = format!("s{at}");
            let service = stamps(json!({"serviceName": name, "description": odd, "versions": [version]}));
            configuration.put(Item::from_json(Kind::Service, service).unwrap());
        }
        let route = json!({"name": "r", "path": "/{a}", "headers": {"x-b": "~^a: [b]$", "x-a": "yes"}, "priority": -1});
        configuration.put(Item::from_json(Kind::Route, route).unwrap());
        let keys = json!([{"prefix": "canary", "apiKeyHash": "canary"}]);
        let application =
            json!({"name": "shop", "apiKeys": keys, "whitelist": [stamps(json!({"endpointPath": "/a"}))]});
        configuration.put(Item::from_json(Kind::Application, application).unwrap());
        configuration
    }

    fn text(configuration: &Configuration, sections: &[Kind], form: Form) -> String {
        Export::new(configuration, sections, form).collect()
    }

    #[test]
    fn both_forms_read_back_as_the_same_document() {
        let configuration = configuration();
        let whole = Export::new(&configuration, &Kind::ALL, Form::Json).into_value();
        let (json, yaml) = (text(&configuration, &Kind::ALL, Form::Json), text(&configuration, &Kind::ALL, Form::Yaml));
        assert_eq!(parse_json(json.as_bytes()).unwrap(), whole);
        assert_eq!(parse(&yaml).unwrap(), whole, "{yaml}");
        assert_eq!(whole.as_object().unwrap().len(), Kind::ALL.len());
        let empty = Configuration::default();
        for sections in [&Kind::ALL[..], &[Kind::Route], &[Kind::Defaults], &[Kind::Route, Kind::Defaults], &[]] {
            let whole = Export::new(&empty, sections, Form::Json).into_value();
            assert_eq!(parse_json(text(&empty, sections, Form::Json).as_bytes()).unwrap(), whole);
            assert_eq!(parse(&text(&empty, sections, Form::Yaml)).unwrap(), whole);
        }
    }

    #[test]
    fn ids_times_and_keys_stay_out() {
        for form in [Form::Json, Form::Yaml] {
            let text = text(&configuration(), &Kind::ALL, form);
            for word in ["canary", "apiKey", "0190f5d2", "2026", "createdAt", "\"id\"", "id:"] {
                assert!(!text.contains(word), "{word} in {text}");
            }
        }
    }

    #[test]
    fn an_entity_begins_with_its_name() {
        let text = text(&configuration(), &[Kind::Route], Form::Yaml);
        assert!(text.starts_with("routes:\n- name: r\n  access:\n"), "{text}");
    }
}
