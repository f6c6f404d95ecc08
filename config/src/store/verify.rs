//! Whether the audit is whole: every entry there, unaltered, in its place, and one for each generation. Read page by page, while
//! others go on writing.

use crate::model::{Action, AuditEntry, ChainKey};

use super::audit::AuditHead;
use super::{Result, Store};

const PAGE: u32 = 500;

/// What is to be said of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audited {
    Unbroken(AuditHead),
    /// The first thing that does not fit.
    Broken(String),
}

/// Walks the whole chain. `expected`: an entry that somebody noted elsewhere, for who can delete the newest entries and all that
/// was written with them can't be told from somebody who restored an older database.
pub async fn verify_audit(store: &dyn Store, chain: &ChainKey, expected: Option<&AuditHead>) -> Result<Audited> {
    // Before the audit's head: each generation was committed with its entry.
    let generation = store.head().await?.generation;
    let mut walk = Walk { chain, expected, last: AuditHead { number: 0, hash: String::new() }, generation: 0 };
    loop {
        let head = store.audit_head().await?;
        if let Err(broken) = walk.go_to(store, &head).await? {
            return Ok(Audited::Broken(broken));
        }
        let behind = store.audit_behind(head.number, 1).await?;
        if behind.is_empty() {
            break;
        }
        if store.audit_head().await? == head {
            return Ok(Audited::Broken(format!("entry {} stands behind the newest, {}", head.number + 1, head.number)));
        }
    }
    if let Some(expected) = expected.filter(|expected| expected.number > walk.last.number) {
        let newest = walk.last.number;
        return Ok(Audited::Broken(format!("entry {} is missing: the newest is {newest}", expected.number)));
    }
    if walk.generation < generation {
        return Ok(Audited::Broken(format!("generation {} has no entry", walk.generation + 1)));
    }
    let newest = store.head().await?.generation;
    if walk.generation > newest {
        return Ok(Audited::Broken(format!("generation {} has an entry, but the newest is {newest}", walk.generation)));
    }
    Ok(Audited::Unbroken(walk.last))
}

struct Walk<'w> {
    chain: &'w ChainKey,
    expected: Option<&'w AuditHead>,
    /// The newest entry that fits.
    last: AuditHead,
    /// That was written with it or before it.
    generation: u64,
}

impl Walk<'_> {
    /// On to the entry that is said to be the newest.
    async fn go_to(&mut self, store: &dyn Store, head: &AuditHead) -> Result<std::result::Result<(), String>> {
        while self.last.number < head.number {
            let next = self.last.number + 1;
            let left = u32::try_from(head.number - self.last.number).unwrap_or(u32::MAX);
            let page = store.audit_behind(self.last.number, left.min(PAGE)).await?;
            if page.is_empty() {
                return Ok(Err(format!("entry {next} is missing")));
            }
            for entry in page {
                if let Err(broken) = entry.and_then(|entry| self.take(entry)) {
                    return Ok(Err(broken));
                }
            }
        }
        if self.last == *head {
            return Ok(Ok(()));
        }
        Ok(Err(format!("the newest entry is {}, and the head says {}", self.last.number, head.number)))
    }

    fn take(&mut self, entry: AuditEntry) -> std::result::Result<(), String> {
        let number = self.last.number + 1;
        if entry.number != number {
            return Err(format!("entry {number} is missing"));
        }
        if self.chain.hash(&self.last.hash, &entry) != entry.hash {
            return Err(format!("entry {number} was altered"));
        }
        if let Some(expected) = self.expected
            && expected.number == number
            && expected.hash != entry.hash
        {
            return Err(format!("entry {number} is not the one that was expected"));
        }
        if let Some(generation) = entry.generation {
            // A restore over a newer configuration goes on behind that one's number.
            let may_skip = entry.action == Action::BackupRestore && generation > self.generation;
            if generation != self.generation + 1 && !may_skip {
                return Err(format!(
                    "generation {} has no entry: entry {number} is of {generation}",
                    self.generation + 1
                ));
            }
            self.generation = generation;
        }
        self.last = AuditHead { number, hash: entry.hash };
        Ok(())
    }
}
