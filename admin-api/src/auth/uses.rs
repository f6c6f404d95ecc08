//! When personal tokens were last used, as far as this process wrote it: once a minute is enough.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use gateway_config::model::{Id, PersonalToken, Timestamp};

const BETWEEN_WRITES_MILLIS: i64 = 60_000;
/// Then all are forgotten: it costs a write of each.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct TokenUses(Mutex<HashMap<Id<PersonalToken>, Timestamp>>);

impl TokenUses {
    /// Whether this use is to be written; then it counts as written.
    pub(crate) fn is_due(&self, id: Id<PersonalToken>, now: Timestamp) -> bool {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(&id).is_some_and(|last| now.millis_since(*last) < BETWEEN_WRITES_MILLIS) {
            return false;
        }
        if written.len() >= MOST {
            written.clear();
        }
        written.insert(id, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::new_id;

    use super::*;

    #[test]
    fn a_use_is_written_once_a_minute() {
        let uses = TokenUses::default();
        let (id, other) = (Id::new(new_id()), Id::new(new_id()));
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert!(uses.is_due(id, at(100)) && !uses.is_due(id, at(159)) && uses.is_due(other, at(159)));
        assert!(uses.is_due(id, at(160)) && !uses.is_due(id, at(161)));
    }
}
