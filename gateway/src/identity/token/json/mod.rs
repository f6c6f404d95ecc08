//! The JSON of tokens: an object in which no key stands twice, read where it stands. Most of what a token says is looked at once or
//! never, so names and texts are borrowed, and objects are lists: their few members are found faster than hashed.

mod reader;

use std::borrow::Cow;

use gateway_config::strict_json;
use serde_json::Value;

pub(super) use reader::object;

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

/// One JSON object as values that outlive the text.
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

        #[test]
        fn whatever_is_torn_or_twisted_is_taken_or_refused_as_by_the_usual_reader(
            value in anything(),
            twists in proptest::collection::vec((any::<prop::sample::Index>(), "[]{}\\[\\],:\"\\\\ eE+.0-9tfn\u{1}é-]"), 0..3),
            spaced in any::<bool>(),
        ) {
            let text = if spaced { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let mut text = text.unwrap();
            for (place, twist) in twists {
                let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                text.insert_str(*place.get(&places), &twist);
            }
            let read = object(text.as_bytes()).map(|read| value_of(&Json::Object(read)));
            // Large numbers are floats here.
            let usual = owned_object(text.as_bytes()).map(with_floats);
            prop_assert_eq!(read, usual, "{}", text);
        }
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        let nested = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-d\\\\]{0,2}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        });
        proptest::collection::btree_map("[a-d]{0,2}", nested, 0..4).prop_map(|map| map.into_iter().collect())
    }

    fn with_floats(value: Value) -> Value {
        match value {
            Value::Number(number) if number.as_i64().is_none() => number.as_f64().into(),
            Value::Array(list) => list.into_iter().map(with_floats).collect(),
            Value::Object(map) => map.into_iter().map(|(name, value)| (name, with_floats(value))).collect(),
            other => other,
        }
    }

    #[test]
    fn it_goes_as_deep_as_the_usual_reader() {
        for depth in [126, 127, 128, 200] {
            for (open, close) in [(r#"{"a":"#, "}"), ("[", "]")] {
                let text = format!(r#"{{"a":{}1{}}}"#, open.repeat(depth - 1), close.repeat(depth - 1));
                assert_eq!(
                    object(text.as_bytes()).is_some(),
                    owned_object(text.as_bytes()).is_some(),
                    "{depth} of {open}"
                );
            }
        }
    }
}
