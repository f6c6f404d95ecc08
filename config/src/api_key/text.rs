//! The text of a key: how it is made, and how a presented one is told from any other text.

use std::fmt;

use rand::RngExt;
use subtle::ConstantTimeEq;

use crate::master_key::MasterKey;

const MARK: &str = "gk_";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 37;
const CHECKSUM_LENGTH: usize = 6;
/// `gk_` and the id.
pub const PREFIX_LENGTH: usize = MARK.len() + ID_LENGTH;
/// All but the checksum.
const BODY_LENGTH: usize = PREFIX_LENGTH + 1 + SECRET_LENGTH;
pub const KEY_LENGTH: usize = BODY_LENGTH + CHECKSUM_LENGTH;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What the checksum is made with: the same in the whole fleet.
#[derive(Clone)]
pub struct ChecksumKey([u8; 32]);

/// A whole key in memory, on its way to whoever it is for.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(Box<str>);

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub text: KeyText,
    /// `gk_` and the id: public, and that by which the key is found.
    pub prefix: String,
}

/// A text that has the shape of a key. Anybody can write one.
#[derive(Clone, Copy)]
pub struct Shaped<'k> {
    prefix: &'k str,
    whole: &'k [u8],
}

/// A text that has the shape of a key and the right checksum. Whether there is such a key, and whether its secret is right, is
/// still to be seen.
#[derive(Clone, Copy)]
pub struct Presented<'k> {
    prefix: &'k str,
    whole: &'k [u8],
}

impl ChecksumKey {
    #[must_use]
    pub fn of(master: &MasterKey) -> Self {
        Self(master.derive("checksums of API keys"))
    }

    /// The HMAC: BLAKE3 in its keyed mode, which is a MAC by itself and needs one pass where HMAC needs two.
    fn checksum(&self, body: &[u8]) -> [u8; CHECKSUM_LENGTH] {
        let hash = blake3::keyed_hash(&self.0, body);
        let mut rest = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        [0; CHECKSUM_LENGTH].map(|_| {
            let digit = rest % 62;
            rest /= 62;
            letter(digit)
        })
    }
}

impl KeyText {
    /// The key itself. For the one answer that shows it, and for hashing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'k> Shaped<'k> {
    #[must_use]
    pub fn prefix(&self) -> &'k str {
        self.prefix
    }

    #[must_use]
    pub fn whole(&self) -> &'k [u8] {
        self.whole
    }

    /// `None` when it was not made under this fleet's master key. Compares in constant time.
    #[must_use]
    pub fn check(self, checksum: &ChecksumKey) -> Option<Presented<'k>> {
        let (body, sum) = self.whole.split_last_chunk::<CHECKSUM_LENGTH>()?;
        let is_right: bool = checksum.checksum(body).ct_eq(sum).into();
        is_right.then_some(Presented { prefix: self.prefix, whole: self.whole })
    }
}

impl<'k> Presented<'k> {
    #[must_use]
    pub fn prefix(&self) -> &'k str {
        self.prefix
    }

    /// The whole key, as it was presented.
    #[must_use]
    pub fn whole(&self) -> &'k [u8] {
        self.whole
    }
}

impl fmt::Debug for ChecksumKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChecksumKey(…)")
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

impl fmt::Debug for Shaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaped").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Makes a key nobody has: 71 bits of id and 220 of secret.
#[must_use]
pub fn generate(checksum: &ChecksumKey) -> NewKey {
    let mut random = rand::rng();
    let mut text = String::with_capacity(KEY_LENGTH);
    let mut letters = |text: &mut String, count: usize| {
        text.extend((0..count).map(|_| char::from(letter(random.random_range(0..62_u64)))));
    };
    text.push_str(MARK);
    letters(&mut text, ID_LENGTH);
    let prefix = text.clone();
    text.push('_');
    letters(&mut text, SECRET_LENGTH);
    let sum = checksum.checksum(text.as_bytes());
    text.extend(sum.map(char::from));
    NewKey { text: KeyText(text.into()), prefix }
}

/// `None` for whatever is no key of this fleet. Allocates nothing.
#[must_use]
pub fn parse<'k>(checksum: &ChecksumKey, presented: &'k [u8]) -> Option<Presented<'k>> {
    shape(presented)?.check(checksum)
}

/// `None` for whatever can't be a key: a text of 8 KiB costs no more than one of a few bytes.
#[must_use]
pub fn shape(presented: &[u8]) -> Option<Shaped<'_>> {
    let (body, sum) = presented.split_last_chunk::<CHECKSUM_LENGTH>()?;
    let (prefix, secret) = body.split_first_chunk::<PREFIX_LENGTH>()?;
    let id = prefix.strip_prefix(MARK.as_bytes())?;
    let secret = secret.strip_prefix(b"_").filter(|secret| secret.len() == SECRET_LENGTH)?;
    let is_plain = |text: &[u8]| text.iter().all(u8::is_ascii_alphanumeric);
    if !(is_plain(id) && is_plain(secret) && is_plain(sum)) {
        return None;
    }
    Some(Shaped { prefix: std::str::from_utf8(prefix).ok()?, whole: presented })
}

fn letter(digit: u64) -> u8 {
    usize::try_from(digit).ok().and_then(|digit| ALPHABET.get(digit)).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> ChecksumKey {
        ChecksumKey::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap())
    }

    #[test]
    fn a_made_key_has_the_documented_shape_and_is_recognised() {
        let made = generate(&key());
        let text = made.text.expose();
        assert_eq!((text.len(), KEY_LENGTH, PREFIX_LENGTH), (59, 59, 15));
        assert!(text.starts_with("gk_") && text.as_bytes()[15] == b'_', "{text}");
        assert_eq!(made.prefix, text[..15]);
        let presented = parse(&key(), text.as_bytes()).unwrap();
        assert_eq!((presented.prefix(), presented.whole()), (made.prefix.as_str(), text.as_bytes()));
        assert_ne!(generate(&key()).prefix, made.prefix);
    }

    #[test]
    fn nothing_shows_a_key_by_accident() {
        let made = generate(&key());
        let presented = parse(&key(), made.text.expose().as_bytes()).unwrap();
        let shown = format!("{made:?} {presented:?} {:?}", key());
        assert!(!shown.contains(&made.text.expose()[16..]), "{shown}");
    }

    #[test]
    fn a_key_of_another_fleet_is_no_key() {
        let other = ChecksumKey::of(&MasterKey::of("another text of more than 32 characters").unwrap());
        assert!(parse(&key(), generate(&other).text.expose().as_bytes()).is_none());
    }

    #[test]
    fn every_single_changed_character_is_refused() {
        let key = key();
        let good = generate(&key).text.expose().as_bytes().to_vec();
        for at in 0..good.len() {
            for letter in ALPHABET.iter().chain(b"_-\0\xff ").filter(|letter| **letter != good[at]) {
                let mut bad = good.clone();
                bad[at] = *letter;
                assert!(parse(&key, &bad).is_none(), "{letter} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_or_accept(bytes in proptest::collection::vec(any::<u8>(), 0..9000)) {
            prop_assert!(parse(&key(), &bytes).is_none());
        }

        #[test]
        fn no_text_of_the_right_shape_passes_without_its_checksum(text in "gk_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}") {
            prop_assert!(parse(&key(), text.as_bytes()).is_none());
        }

        #[test]
        fn a_truncated_or_lengthened_key_is_refused(cut in 0..KEY_LENGTH, more in "[0-9A-Za-z]{1,5}") {
            let text = generate(&key()).text;
            prop_assert!(parse(&key(), &text.expose().as_bytes()[..cut]).is_none());
            let longer = text.expose().to_owned() + &more;
            prop_assert!(parse(&key(), longer.as_bytes()).is_none());
        }
    }
}
