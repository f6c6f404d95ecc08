//! The JSON of tokens: an object in which no key stands twice, read where it stands. Most of what a token says is looked at once or
//! never, so names and texts are borrowed, and objects are lists: their few members are found faster than hashed.

use std::borrow::Cow;

use gateway_config::strict_json;
use serde_json::{Number, Value};

/// As many members as objects of claims have at the most, mostly.
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
    let mut reader = Reader { text: std::str::from_utf8(text).ok()?, at: 0, depth: 0 };
    reader.skip_space().filter(|next| *next == b'{')?;
    let object = reader.object()?;
    reader.skip_space().is_none().then_some(object)
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

    /// Whether a name stands twice.
    fn repeats(&self) -> bool {
        if self.0.len() > FEW {
            return self.repeats_among_many();
        }
        // Most differ in their lengths and ends: each takes a place of 64, and only who finds it taken is compared with all before.
        let mut taken = 0_u64;
        self.0.iter().enumerate().any(|(at, (name, _))| {
            let place = 1 << (mark(name) % 64);
            let is_free = taken & place == 0;
            taken |= place;
            !is_free && self.0.iter().take(at).any(|(other, _)| other == name)
        })
    }

    /// Whoever sends thousands of names does not make us compare each with each.
    fn repeats_among_many(&self) -> bool {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        names.iter().zip(names.iter().skip(1)).any(|(name, next)| name == next)
    }
}

fn mark(name: &str) -> usize {
    let byte = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(*byte));
    let (first, last) = (byte(name.as_bytes().first()), byte(name.as_bytes().last()));
    name.len().wrapping_mul(13) ^ first.wrapping_mul(5) ^ last
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

/// Objects and lists within each other, as deep as `serde_json` goes.
const DEEPEST: u8 = 127;

/// Reads by the grammar of RFC 8259, and nothing else. Our own, because claims are read anew for each token that is verified, and a reader that knows
/// what it makes costs a third; what is rare (escapes, fractions, large numbers) is left to `serde_json`.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: u8,
}

impl<'t> Reader<'t> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no space.
    fn skip_space(&mut self) -> Option<u8> {
        loop {
            let next = self.next()?;
            if !matches!(next, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(next);
            }
            self.at += 1;
        }
    }

    /// Steps over this byte, and any space before it.
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.skip_space()? == byte).then(|| self.at += 1)
    }

    fn value(&mut self) -> Option<Json<'t>> {
        match self.skip_space()? {
            b'"' => self.text().map(Json::Text),
            b'{' => self.object().map(Json::Object),
            b'[' => self.list().map(Json::List),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn object(&mut self) -> Option<Object<'t>> {
        self.enter()?;
        // Claims are some; what lies in them is not trusted with room before it is there.
        let mut object = Object(Vec::with_capacity(if self.depth == 1 { FEW } else { 0 }));
        if self.skip_space()? == b'}' {
            self.at += 1;
        } else {
            loop {
                self.skip_space().filter(|next| *next == b'"')?;
                let name = self.text()?;
                self.expect(b':')?;
                object.0.push((name, self.value()?));
                if self.ends_with(b'}')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        (!object.repeats()).then_some(object)
    }

    fn list(&mut self) -> Option<Vec<Json<'t>>> {
        self.enter()?;
        let mut list = Vec::new();
        if self.skip_space()? == b']' {
            self.at += 1;
        } else {
            loop {
                list.push(self.value()?);
                if self.ends_with(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Some(list)
    }

    fn enter(&mut self) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        (self.depth <= DEEPEST).then_some(())
    }

    /// Behind a member: `true` at the end, `false` where another one must follow.
    fn ends_with(&mut self, end: u8) -> Option<bool> {
        let next = self.skip_space()?;
        self.at += 1;
        if next == end { Some(true) } else { (next == b',').then_some(false) }
    }

    /// From its quote on.
    fn text(&mut self) -> Option<Cow<'t, str>> {
        let begin = self.at + 1;
        let end = begin + plain(self.text.as_bytes().get(begin..)?)?;
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return self.text.get(begin..end).map(Cow::Borrowed);
        }
        let whole = self.text.get(self.at..)?;
        let mut escaped = serde_json::Deserializer::from_str(whole).into_iter::<String>();
        let text = escaped.next()?.ok()?;
        self.at += escaped.byte_offset();
        Some(Cow::Owned(text))
    }

    fn number(&mut self) -> Option<Json<'t>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let (mut number, mut length) = (0, 0);
        // Of so many digits none is beyond `i64`.
        while length < 18
            && let Some(digit @ b'0'..=b'9') = rest.get(length)
        {
            number = number * 10 + i64::from(digit - b'0');
            length += 1;
        }
        let goes_on = matches!(rest.get(length), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        if goes_on || matches!(rest.first(), None | Some(b'0' | b'-')) {
            return self.rare_number();
        }
        self.at += length;
        Some(Json::Integer(number))
    }

    fn rare_number(&mut self) -> Option<Json<'t>> {
        let rest = self.text.get(self.at..)?;
        let length = rest.bytes().position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let number = rest.get(..length.unwrap_or(rest.len()))?;
        self.at += number.len();
        let number: Number = serde_json::from_str(number).ok()?;
        // Beyond `i64` they are only ever found to be too large.
        number.as_i64().map(Json::Integer).or_else(|| number.as_f64().map(Json::Float))
    }

    fn word(&mut self, word: &str, value: Json<'t>) -> Option<Json<'t>> {
        let is_it = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        is_it.then_some(value)
    }
}

/// How many bytes stand before the first one that ends a text or asks for a closer look: a quote, a backslash, a control character.
fn plain(text: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // Eight at a time. The high bit of each that is meant is set; a borrow may set it in bytes after the first of them, never before.
    let below = |word: u64, least: u8| word.wrapping_sub(EACH * u64::from(least)) & !word;
    let (eights, rest) = text.as_chunks();
    for (at, eight) in eights.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
        let found = (is(b'"') | is(b'\\') | below(word, b' ')) & (EACH << 7);
        if found != 0 {
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let last = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..=0x1f))?;
    Some(eights.len() * 8 + last)
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
