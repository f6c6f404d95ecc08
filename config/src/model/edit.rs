//! Edits of a configuration, already typed.

use super::{Item, Kind};

/// One entity put or taken out.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Creates the entity or replaces the one of its name.
    Put(Item),
    Delete {
        kind: Kind,
        name: String,
    },
}

impl Edit {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Put(item) => item.kind(),
            Self::Delete { kind, .. } => *kind,
        }
    }

    /// What stands there afterwards.
    #[must_use]
    pub fn item(&self) -> Option<&Item> {
        match self {
            Self::Put(item) => Some(item),
            Self::Delete { .. } => None,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Put(item) => item.name(),
            Self::Delete { name, .. } => name,
        }
    }
}

/// Edits that take effect together and lead to `generation`.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub generation: u64,
    pub edits: Vec<Edit>,
}
