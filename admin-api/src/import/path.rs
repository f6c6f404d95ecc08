//! Paths as others write them, in our pattern language.

use std::fmt::Write;

use gateway_config::snapshot::path::normalise;
use gateway_config::snapshot::{Pattern, Segment};

/// Text that stands for itself in a pattern, as it is matched: percent-encoded and normalised.
pub(super) fn literal(text: &str) -> Result<String, String> {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_graphic() && !b"\"<>^`{|}#?\\;".contains(&byte);
        if is_plain {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    normalise(encoded.as_bytes()).map(std::borrow::Cow::into_owned).map_err(|why| why.to_string())
}

/// Names for parts of one pattern: letters, digits and `_`, each once.
#[derive(Debug, Default)]
pub(super) struct PartNames(Vec<String>);

impl PartNames {
    /// Never `version`: that would pin the API version.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let plain: String =
            wanted.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).take(50).collect();
        let plain = match plain.as_str() {
            "" => "part".to_owned(),
            "version" => "version_".to_owned(),
            _ => plain,
        };
        let mut name = plain.clone();
        let mut number = 2;
        while self.0.contains(&name) {
            name = format!("{plain}_{number}");
            number += 1;
        }
        self.0.push(name.clone());
        name
    }
}

/// The same for two patterns that match the same paths; `None` when the text is no pattern.
pub(super) fn shape(pattern: &str) -> Option<String> {
    let pattern = Pattern::parse(pattern).ok()?;
    Some(pattern.segments().iter().fold(String::new(), |shape, segment| match segment {
        Segment::Literal(text) => shape + "/" + text,
        Segment::Named(_) => shape + "/{}",
        Segment::Rest(_) => shape + "/{*}",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_written_as_they_are_matched() {
        assert_eq!(literal("/a b/ü//{x}/%7e").unwrap(), "/a%20b/%C3%BC/%7Bx%7D/~");
        assert!(literal("/a%2fb").is_err());
        assert!(literal("a").is_err());
    }

    #[test]
    fn a_part_is_never_called_version_and_no_name_stands_twice() {
        let mut names = PartNames::default();
        let taken: Vec<String> = ["version", "pet-id", "pet_id", ""].iter().map(|it| names.take(it)).collect();
        assert_eq!(taken, ["version_", "pet_id", "pet_id_2", "part"]);
    }

    #[test]
    fn patterns_that_differ_in_names_only_have_one_shape() {
        assert_eq!(shape("/a/{x}/{*rest}"), shape("/a/{y}/{*all}"));
        assert_ne!(shape("/a/{x}"), shape("/a/x"));
    }
}
