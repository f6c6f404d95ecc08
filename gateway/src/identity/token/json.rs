//! The JSON of tokens: an object in which no key stands twice, read where it stands. Most of what a token says is looked at once or
//! never, so names and texts are borrowed, and objects are lists: their few members are found faster than hashed.

use std::borrow::Cow;
use std::fmt;

use gateway_config::strict_json;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Up to so many members are compared each with each.
const FEW: usize = 16;

/// A value in the text of a token.
#[derive(Debug, PartialEq)]
pub(super) enum Json<'t> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Fractions, and what is beyond `i64`.
    Float(f64),
    Text(Cow<'t, str>),
    List(Vec<Json<'t>>),
    Object(Object<'t>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Object<'t>(Vec<(Cow<'t, str>, Json<'t>)>);

/// Reads one JSON object, and nothing after it.
pub(super) fn object(text: &[u8]) -> Option<Object<'_>> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Seed.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    match value {
        Json::Object(object) => Some(object),
        _ => None,
    }
}

/// The same as values that outlive the text.
pub(super) fn owned_object(text: &[u8]) -> Option<Value> {
    strict_json::parse(text).ok().filter(Value::is_object)
}

impl<'t> Object<'t> {
    pub(super) fn get(&self, name: &str) -> Option<&Json<'t>> {
        self.0.iter().find(|(its, _)| its == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_text)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// What the pointer leads to, as long as that is a member of something.
    pub(super) fn at(&self, pointer: &Pointer) -> Option<&Json<'t>> {
        let (first, rest) = pointer.0.split_first()?;
        rest.iter().try_fold(self.get(first)?, |value, step| match value {
            Json::Object(object) => object.get(step),
            Json::List(list) => list.get(index(step)?),
            _ => None,
        })
    }

    /// A name that stands twice. Whoever sends thousands of names does not make us compare each with each.
    fn repeats(&self) -> Option<&str> {
        if self.0.len() <= FEW {
            // Most differ in length or at once; a call to compare the rest costs more than to look.
            let first = |name: &str| (name.len(), name.as_bytes().first().copied());
            let is_before = |at: usize, name: &str| {
                self.0.iter().take(at).any(|(other, _)| first(other) == first(name) && other == name)
            };
            let mut all = self.0.iter().enumerate();
            return all.find(|(at, (name, _))| is_before(*at, name)).map(|(_, (name, _))| &**name);
        }
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.iter().zip(names.iter().skip(1)).find(|(name, next)| name == next).map(|(name, _)| *name)
    }
}

impl Json<'_> {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A JSON pointer (RFC 6901), taken apart once for all tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Box<[Box<str>]>);

impl Pointer {
    /// One that is none leads nowhere, as does one to the whole.
    pub(super) fn of(text: &str) -> Self {
        let Some(steps) = text.strip_prefix('/') else { return Self(Box::default()) };
        Self(steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~").into()).collect())
    }
}

fn index(step: &str) -> Option<usize> {
    let is_plain = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    step.parse().ok().filter(|_| is_plain)
}

struct Seed;

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        #[expect(clippy::cast_precision_loss, reason = "such numbers are only ever found to be too large")]
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        if value.is_finite() { Ok(Json::Float(value)) } else { Err(E::custom("not a finite number")) }
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element_seed(Seed)? {
            list.push(member);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json<'de>, A::Error> {
        let mut object = Object(Vec::with_capacity(8));
        while let Some(name) = fields.next_key_seed(Name)? {
            object.0.push((name, fields.next_value_seed(Seed)?));
        }
        match object.repeats() {
            Some(name) => Err(de::Error::custom(format!("\"{name}\" is there twice"))),
            None => Ok(Json::Object(object)),
        }
    }
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// What was read, as serde_json has it.
    fn value_of(json: &Json<'_>) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(it) => (*it).into(),
            Json::Integer(it) => (*it).into(),
            Json::Float(it) => (*it).into(),
            Json::Text(it) => (&**it).into(),
            Json::List(list) => list.iter().map(value_of).collect(),
            Json::Object(object) => {
                Value::Object(object.0.iter().map(|(name, it)| (name.to_string(), value_of(it))).collect())
            }
        }
    }

    #[test]
    fn only_one_object_whose_keys_stand_once_is_taken() {
        let nested = r#"{"a":{"b":1,"b":2}}"#;
        for bad in
            [r#"{"a":1,"a":1}"#, nested, r#"{"a":1,"\u0061":2}"#, "[]", "1", "", "{", r#"{"a":1} {"#, r#"{"a":1e999}"#]
        {
            assert!(object(bad.as_bytes()).is_none(), "{bad}");
            assert!(owned_object(bad.as_bytes()).is_none(), "{bad}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        assert!(object(deep.as_bytes()).is_none());
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
        let text = r#" {"a":1,"b":[-1,1.5,null,true,"x\n"],"c":{"a":{}}} "#;
        let read = value_of(&Json::Object(object(text.as_bytes()).unwrap()));
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn among_many_names_too_none_may_stand_twice() {
        let with = |last: usize| {
            let members: Vec<String> = (0..200).chain([last]).map(|name| format!(r#""{name}":1"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(object(with(200).as_bytes()).is_some());
        for twice in [0, 77, 199] {
            assert!(object(with(twice).as_bytes()).is_none(), "{twice}");
        }
    }

    #[test]
    fn pointers_lead_where_rfc_6901_says() {
        let value = json!({
            "": 0, "a/b": 1, "m~n": 2, "foo": ["bar", {"baz": 3}], "~1": 4, "n": {"": {"x": 5}}, "0": 6,
        });
        let text = value.to_string();
        let read = object(text.as_bytes()).unwrap();
        for pointer in [
            "/",
            "/a~1b",
            "/m~0n",
            "/foo",
            "/foo/0",
            "/foo/1/baz",
            "/~01",
            "/n//x",
            "/0",
            "/foo/2",
            "/foo/00",
            "/foo/01",
            "/foo/+1",
            "/foo/-",
            "/foo/bar",
            "/nowhere",
            "/n/x",
            "a",
            "n/x",
            "/foo/99999999999999999999",
            "/a~1b/c",
        ] {
            let found = read.at(&Pointer::of(pointer)).map(value_of);
            assert_eq!(found.as_ref(), value.pointer(pointer), "{pointer}");
        }
        assert!(read.at(&Pointer::of("")).is_none(), "the whole is no claim");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_the_usual_reader_reads_it(
            names in proptest::collection::vec("[a-c\\\\\"é]{0,2}", 0..24),
            values in proptest::collection::vec(-3_i64..3, 24),
        ) {
            let members: Vec<String> =
                names.iter().zip(&values).map(|(name, value)| format!("{}:[{value},\"{value}\"]", json!(name))).collect();
            let text = format!("{{{}}}", members.join(","));
            let read = object(text.as_bytes()).map(|read| value_of(&Json::Object(read)));
            prop_assert_eq!(read, owned_object(text.as_bytes()));
        }
    }
}
