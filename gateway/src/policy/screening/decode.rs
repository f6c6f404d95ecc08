//! Percent-decoding that takes whatever comes: a broken escape stands for itself.

use std::borrow::Cow;

/// `%41` is `A`.
pub(super) fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut is_changed = false;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = if first == b'%' { after.first_chunk().copied().and_then(hex_pair) } else { None };
        is_changed |= escaped.is_some();
        decoded.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    if is_changed { Cow::Owned(decoded) } else { Cow::Borrowed(text) }
}

/// As in queries and forms, where `+` is a space.
pub(super) fn decode_form(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return decode(text);
    }
    let spaced: Vec<u8> = text.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    match decode(&spaced) {
        Cow::Owned(decoded) => Cow::Owned(decoded),
        Cow::Borrowed(_) => Cow::Owned(spaced),
    }
}

fn hex_pair([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_escapes_stand_for_themselves() {
        assert_eq!(&*decode(b"100%25 of %41%zz%4"), b"100% of A%zz%4");
        assert_eq!(&*decode(b"%"), b"%");
        assert!(matches!(decode(b"100%"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_plus_is_a_space_in_forms_only() {
        assert_eq!(&*decode_form(b"a+b%2Bc"), b"a b+c");
        assert_eq!(&*decode_form(b"a+b"), b"a b");
        assert_eq!(&*decode(b"a+b"), b"a+b");
    }
}
