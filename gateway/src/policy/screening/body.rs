//! Bodies: all keys and strings of JSON, all names and values of forms.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::detect::{Kind, Screener};
use super::{Finding, Place, screen_parameter};

/// Deeper than anybody nests by hand, and shallow enough for any stack.
const MAX_DEPTH: u8 = 100;

/// How a body is read for screening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Json,
    Form,
}

/// Bodies of other types are left to the backend. One that says no type, or only that it is text, is read as JSON: lenient
/// backends do, and what is no JSON is screened as one text.
pub(crate) fn reading(content_type: Option<&str>) -> Option<Reading> {
    let essence = content_type.unwrap_or("text/plain").split(';').next().unwrap_or_default().trim();
    if is_json(essence) || essence.eq_ignore_ascii_case("text/plain") {
        Some(Reading::Json)
    } else if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Some(Reading::Form)
    } else {
        None
    }
}

/// Screens a whole body. What claims to be JSON and is not is screened as one text, because lenient backends read more than the
/// standard allows.
pub(crate) fn screen_body(reading: Reading, body: &[u8]) -> Option<Finding> {
    let mut screener = Screener::new();
    let kind = match reading {
        Reading::Json => screen_json(&mut screener, body),
        Reading::Form => body.split(|byte| *byte == b'&').find_map(|it| screen_parameter(&mut screener, it)),
    };
    kind.map(|kind| Finding { kind, place: Place::Body })
}

/// `application/json`, `text/json`, `application/problem+json` and their like.
fn is_json(essence: &str) -> bool {
    let is_subtype = |(_, subtype): (&str, &str)| {
        let suffix = subtype.rsplit_once('+').map_or(subtype, |(_, suffix)| suffix);
        suffix.eq_ignore_ascii_case("json") || subtype.eq_ignore_ascii_case("x-ndjson")
    };
    essence.split_once('/').is_some_and(is_subtype)
}

fn screen_json(screener: &mut Screener, body: &[u8]) -> Option<Kind> {
    let mut walk = Walk { screener, found: None };
    let mut values = serde_json::Deserializer::from_slice(body);
    // There may be several values in one body, as in lines of JSON.
    while values.end().is_err() {
        let read = Node { walk: &mut walk, depth: 0 }.deserialize(&mut values);
        if walk.found.is_some() {
            return walk.found;
        }
        if read.is_err() {
            return walk.screener.screen(body);
        }
    }
    None
}

struct Walk<'s> {
    screener: &'s mut Screener,
    found: Option<Kind>,
}

/// Walks a value without building it, and stops at the first finding.
struct Node<'w, 's> {
    walk: &'w mut Walk<'s>,
    depth: u8,
}

impl<'s> Node<'_, 's> {
    fn look<E: Error>(self, text: &str) -> Result<(), E> {
        self.walk.found = self.walk.screener.screen(text.as_bytes());
        // An error is the way out of the walk.
        if self.walk.found.is_some() { Err(E::custom("found")) } else { Ok(()) }
    }

    fn child<E: Error>(&mut self) -> Result<Node<'_, 's>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom("too deep"));
        }
        Ok(Node { walk: self.walk, depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.look(text)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.child()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key_seed(self.child()?)?.is_some() {
            entries.next_value_seed(self.child()?)?;
        }
        Ok(())
    }
}
