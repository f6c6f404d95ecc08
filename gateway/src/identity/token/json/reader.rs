//! The reader of tokens' JSON: by the grammar of RFC 8259, and nothing else.

use std::borrow::Cow;

use serde_json::Number;

use super::{Json, Object};

/// As many members as objects of claims have at the most, mostly.
const FEW: usize = 16;

/// Reads one JSON object, and nothing after it.
pub(in super::super) fn object(text: &[u8]) -> Option<Object<'_>> {
    let mut reader = Reader { text: std::str::from_utf8(text).ok()?, at: 0, depth: 0 };
    reader.skip_space().filter(|next| *next == b'{')?;
    let object = reader.object()?;
    reader.skip_space().is_none().then_some(object)
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

impl Object<'_> {
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
