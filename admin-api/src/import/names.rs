//! Names as we take them, made of names as others wrote them: lower-case letters, digits and dashes, at most 63.

use std::collections::{HashMap, HashSet};

const LONGEST: usize = 63;

/// Names of one kind. The same document gets the same names each time.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The number to try next for a name that is taken.
    next: HashMap<String, u32>,
}

impl Names {
    /// The name for `wanted`, or for `otherwise` where nothing of it can stand in a name; with a number behind it when taken.
    pub(super) fn take(&mut self, wanted: &str, otherwise: &str) -> String {
        let slug = slug(wanted).or_else(|| slug(otherwise)).unwrap_or_else(|| "x".to_owned());
        if self.taken.insert(slug.clone()) {
            return slug;
        }
        let next = self.next.entry(slug.clone()).or_insert(2);
        loop {
            let suffix = format!("-{next}");
            *next += 1;
            let kept = slug.get(..slug.len().min(LONGEST - suffix.len())).unwrap_or_default();
            let name = format!("{}{suffix}", kept.trim_end_matches('-'));
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// `None` where no letter and no digit is left.
pub(super) fn slug(text: &str) -> Option<String> {
    let mut slug = String::new();
    for letter in text.chars() {
        if slug.len() == LONGEST {
            break;
        }
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    (!slug.is_empty()).then(|| slug.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_short_and_never_taken_twice() {
        let mut names = Names::default();
        let long = "a".repeat(100);
        for (wanted, expected) in [
            ("Orders API (v2)", "orders-api-v2"),
            ("orders_api_v2", "orders-api-v2-2"),
            ("orders-api-v2-2", "orders-api-v2-2-2"),
            ("orders api v2", "orders-api-v2-3"),
            ("日本", "service"),
            ("", "service-2"),
            (long.as_str(), &"a".repeat(63)),
            (long.as_str(), &format!("{}-2", "a".repeat(61))),
        ] {
            assert_eq!(names.take(wanted, "service"), expected, "{wanted}");
        }
    }
}
