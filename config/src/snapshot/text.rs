//! Short texts that lie where they are used: what is compared on every request must not be one more place in memory.

use std::fmt;
use std::sync::Arc;

/// With tag and length three words, as a `String` has.
const SHORT: usize = 22;

#[derive(Clone)]
pub(super) enum Text {
    Short(u8, [u8; SHORT]),
    /// Shared, so that a copied table copies no texts.
    Long(Arc<str>),
}

impl Text {
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(text) => text.as_bytes(),
        }
    }

    /// For whoever reads many: comparing needs only the bytes.
    pub(super) fn as_str(&self) -> &str {
        // Whole texts go in, so what comes out is text.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    #[inline]
    pub(super) fn is(&self, other: &str) -> bool {
        *self.as_bytes() == *other.as_bytes()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::Short(0, [0; SHORT])
    }
}

impl AsRef<[u8]> for Text {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Self::Short(length, bytes)
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_itself_however_long(text in "[a-zé/]{0,40}", other in "[a-zé/]{0,40}") {
            let compact = Text::from(text.as_str());
            prop_assert_eq!(compact.as_str(), text.as_str());
            prop_assert!(compact.is(&text));
            prop_assert_eq!(compact.is(&other), text == other);
        }
    }

    #[test]
    fn it_takes_no_more_than_a_string() {
        assert_eq!(size_of::<Text>(), size_of::<String>());
    }
}
