//! Problems gathered while compiling, each under the path of what is being looked at.

use crate::model::{Kind, Problem};

#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
    prefix: String,
}

impl Problems {
    /// `field` is relative to what is being looked at.
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        let path = if field.is_empty() { self.prefix.clone() } else { format!("{}/{field}", self.prefix) };
        self.found.push(Problem::new(path, message));
    }

    /// Looks at an entity.
    pub(super) fn at<T>(&mut self, kind: Kind, name: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.prefix, format!("{}/{name}", kind.plural()));
        let result = look(self);
        self.prefix = outer;
        result
    }

    /// Looks at a part of what is being looked at.
    pub(super) fn within<T>(&mut self, part: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.prefix.len();
        self.prefix.push('/');
        self.prefix.push_str(part);
        let result = look(self);
        self.prefix.truncate(length);
        result
    }

    /// Sorted, each once.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort();
        self.found.dedup();
        self.found
    }
}
