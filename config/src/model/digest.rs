//! Content hashes. An entity's is a BLAKE3 over its canonical JSON; a configuration's is the sum of its entities', so that
//! a change updates it without reading the rest.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::Kind;

/// 256 bits, added and subtracted as four words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u64; 4]);

impl Digest {
    #[must_use]
    pub fn of(kind: Kind, entity: &Value) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind.word().as_bytes());
        feed(&mut hasher, entity, Some(kind));
        let hash = hasher.finalize();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(hash.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].wrapping_add(other.0[at])))
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].wrapping_sub(other.0[at])))
    }

    /// As 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = [0; 4];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, word) in words.iter_mut().enumerate() {
            *word = u64::from_str_radix(text.get(at * 16..at * 16 + 16)?, 16).ok()?;
        }
        Some(Self(words))
    }
}

/// Feeds `value` with its keys in order; ids and times of an entity (`kind` is some) and of its children stay out.
pub(super) fn feed(hasher: &mut blake3::Hasher, value: &Value, kind: Option<Kind>) {
    match value {
        Value::Object(fields) => {
            // Sorted here: whether serde_json's map keeps insertion order is decided by features of other crates.
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            hasher.update(b"{");
            for name in names {
                if kind.is_some() && matches!(name.as_str(), "id" | "createdAt" | "updatedAt") {
                    continue;
                }
                let Some(field) = fields.get(name) else { continue };
                text(hasher, name);
                let child = kind.filter(|kind| kind.children().iter().any(|child| child.field == name));
                feed(hasher, field, child);
            }
            hasher.update(b"}");
        }
        Value::Array(members) => {
            hasher.update(b"[");
            for member in members {
                feed(hasher, member, kind);
            }
            hasher.update(b"]");
        }
        Value::String(string) => {
            hasher.update(b"\"");
            text(hasher, string);
        }
        other => {
            text(hasher, &other.to_string());
        }
    }
}

/// With its length before it, so that no two different values feed the same bytes.
fn text(hasher: &mut blake3::Hasher, string: &str) {
    hasher.update(&(string.len() as u64).to_le_bytes());
    hasher.update(string.as_bytes());
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, "{word:016x}"))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).ok_or_else(|| de::Error::custom("not a digest"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_reads_back_and_subtracts_what_was_added() {
        let a = Digest::of(Kind::Route, &json!({"name": "a"}));
        let b = Digest::of(Kind::Route, &json!({"name": "b"}));
        assert_eq!(Digest::parse(&a.to_string()), Some(a));
        assert_eq!(a.plus(b).minus(a), b);
        assert_eq!(a.plus(b), b.plus(a));
    }

    #[test]
    fn values_that_only_look_alike_differ() {
        let digest = |value| Digest::of(Kind::Route, &value);
        assert_ne!(digest(json!({"a": "bc"})), digest(json!({"ab": "c"})));
        assert_ne!(digest(json!({"a": "1"})), digest(json!({"a": 1})));
        assert_ne!(digest(json!({"a": ["b", "c"]})), digest(json!({"a": ["b"], "c": 1})));
    }
}
