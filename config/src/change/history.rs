//! Going back: what stood at an earlier generation, told from what each later one changed. An entity that several of them touched
//! stood as the first of those found it.
//!
//! API keys take no part: what is revoked or gone stays so, and what was issued since stays, too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::proposal::Proposal;
use super::{Applied, ChangeError, Changer, Entity, Expect, Op, Result, Terms, read, stamp};
use crate::model::{Actor, Change, Edit, EntityChange, Item, Kind, Problem, Timestamp};
use crate::snapshot::Snapshot;

/// Generations that are read at a time. One may hold very many entities.
const PAGE: u32 = 64;
/// Whoever set no condition doesn't care who was first.
const ATTEMPTS: usize = 10;
const KEYS: &str = "apiKeys";
const UNREADABLE: &str = "unreadable";

/// What the generations behind `from` up to `to` changed: one change for each entity.
#[derive(Clone, Debug)]
pub struct Past {
    from: u64,
    to: u64,
    spans: BTreeMap<(Kind, String), Span>,
}

/// An entity at both ends.
#[derive(Clone, Debug)]
struct Span {
    before: Option<Value>,
    after: Option<Value>,
    /// The keys that any of the generations lists.
    keys: HashSet<String>,
}

impl Past {
    #[must_use]
    pub fn behind(generation: u64) -> Self {
        Self { from: generation, to: generation, spans: BTreeMap::new() }
    }

    #[must_use]
    pub fn to(&self) -> u64 {
        self.to
    }

    /// Takes the next generation's changes in.
    pub fn follow(&mut self, changes: Vec<EntityChange>) {
        self.to += 1;
        for EntityChange { kind, name, before, after } in changes {
            match self.spans.get_mut(&(kind, name.clone())) {
                Some(span) => span.follow(before.as_ref(), after),
                None => drop(self.spans.insert((kind, name), Span::new(before, after))),
            }
        }
    }

    /// From `from` to `to`, kind by kind in the order of names.
    #[must_use]
    pub fn changes(self) -> Vec<EntityChange> {
        let change = |((kind, name), span): ((Kind, String), Span)| EntityChange {
            kind,
            name,
            before: span.before,
            after: span.after,
        };
        self.spans.into_iter().map(change).collect()
    }

    /// From `to` back to `from`.
    #[must_use]
    pub fn backwards(self) -> Vec<EntityChange> {
        let turned = |change: EntityChange| EntityChange { before: change.after, after: change.before, ..change };
        self.changes().into_iter().map(turned).collect()
    }

    /// What would have to be written on top of `to` for everything to stand as it did.
    pub fn proposals(&self) -> Result<Vec<Proposal>> {
        let mut proposals = Vec::new();
        for ((kind, name), Span { before, after, .. }) in &self.spans {
            match before {
                Some(value) => {
                    refuse_unreadable(*kind, name, value)?;
                    proposals.push(Proposal::put(*kind, name, value.clone()));
                }
                None if after.is_some() => {
                    proposals.push(Proposal { op: Op::Delete, ..Proposal::put(*kind, name, Value::Null) });
                }
                None => {}
            }
        }
        Ok(proposals)
    }

    /// The configuration as it was, told from `head`, which is of generation `to`; with the keys of today.
    pub fn of(&self, head: &Snapshot) -> Result<Snapshot> {
        let mut edits = Vec::new();
        for ((kind, name), Span { before, .. }) in &self.spans {
            let standing = head.item(*kind, name);
            match before {
                Some(value) => {
                    refuse_unreadable(*kind, name, value)?;
                    let keys = standing.as_ref().and_then(|item| item.to_json().get_mut(KEYS).map(Value::take));
                    let item = Item::from_json(*kind, with_keys(value.clone(), keys));
                    edits.push(Edit::Put(item.map_err(|problem| ChangeError::Invalid(vec![problem]))?));
                }
                None if standing.is_some() => edits.push(Edit::Delete { kind: *kind, name: name.clone() }),
                None => {}
            }
        }
        head.apply(&Change { generation: self.from, edits }).map_err(ChangeError::Invalid)
    }

    /// With what going back does to API keys, and does not do.
    fn warned(&self, mut applied: Applied) -> Applied {
        let changed: HashSet<(Kind, &str)> =
            applied.changes.iter().map(|change| (change.kind, change.name.as_str())).collect();
        for ((kind, name), span) in &self.spans {
            let warning = span.warning(changed.contains(&(*kind, name.as_str())));
            applied.warnings.extend(warning.map(|it| Problem::new(format!("{}/{name}/{KEYS}", kind.plural()), it)));
        }
        applied
    }
}

impl Span {
    fn new(before: Option<Value>, after: Option<Value>) -> Self {
        let keys = before.iter().chain(&after).flat_map(keys_in).map(|(prefix, _)| prefix.to_owned()).collect();
        Self { before, after, keys }
    }

    fn warning(&self, is_changed: bool) -> Option<String> {
        let keys = |side: &Option<Value>| side.iter().flat_map(keys_in).map(|(_, key)| key.clone()).collect::<Vec<_>>();
        let (before, after) = (keys(&self.before), keys(&self.after));
        match (&self.before, &self.after) {
            (Some(_), None) if is_changed && !before.is_empty() => {
                Some(format!("it comes back without its API keys ({}): they are gone for good", before.len()))
            }
            (None, Some(_)) if is_changed && !after.is_empty() => {
                Some(format!("it is deleted with its API keys ({}): nothing brings them back", after.len()))
            }
            (Some(_), Some(_)) if before != after => {
                Some("its API keys stay as they are now: nothing brings one back, or takes one away".to_owned())
            }
            _ => None,
        }
    }

    /// Each generation lists only the keys that it changed, so the lists of all of them are put together.
    fn follow(&mut self, before: Option<&Value>, mut after: Option<Value>) {
        let found: Vec<(String, Value)> =
            before.into_iter().flat_map(keys_in).map(|(prefix, key)| (prefix.to_owned(), key.clone())).collect();
        for (prefix, key) in &found {
            if self.keys.insert(prefix.clone())
                && let Some(first) = &mut self.before
            {
                add_key(first, key.clone());
            }
        }
        if let Some(after) = &mut after {
            let listed: HashSet<String> = keys_in(after).map(|(prefix, _)| prefix.to_owned()).collect();
            self.keys.extend(listed.iter().cloned());
            let gone = |prefix: &str| found.iter().any(|(found, _)| found == prefix);
            for (prefix, key) in self.after.iter().flat_map(keys_in) {
                if !listed.contains(prefix) && !gone(prefix) {
                    add_key(after, key.clone());
                }
            }
        }
        self.after = after;
    }
}

impl Changer {
    /// What the generations behind `from` up to `to` changed. Refused where the history does not reach back that far.
    pub async fn past(&self, from: u64, to: u64) -> Result<Past> {
        let mut past = Past::behind(from);
        self.follow(&mut past, to).await?;
        Ok(past)
    }

    async fn follow(&self, past: &mut Past, to: u64) -> Result<()> {
        while past.to < to {
            let generations = self.store.generations_behind(past.to, to, PAGE).await?;
            if generations.is_empty() {
                return Err(self.missing(past, past.to + 1).await?);
            }
            for generation in generations {
                if generation.number != past.to + 1 {
                    return Err(self.missing(past, past.to + 1).await?);
                }
                past.follow(generation.changes);
            }
        }
        Ok(())
    }

    /// Why the generation is not there: too old, or taken out by hand.
    async fn missing(&self, past: &Past, number: u64) -> Result<ChangeError> {
        let (head, oldest) = (self.store.head().await?, self.store.oldest_generation().await?);
        let oldest = oldest.unwrap_or(head.generation + 1);
        Ok(if number < oldest {
            ChangeError::NoGeneration { number: past.from, oldest, newest: head.generation }
        } else {
            ChangeError::Gap { number, wanted: past.from }
        })
    }

    /// Refused, with what there is, when the generation is not kept. Generation 0 is what a fresh fleet has: nothing made it.
    pub async fn expect_generation(&self, number: u64) -> Result<()> {
        let (head, oldest) = (self.store.head().await?, self.store.oldest_generation().await?);
        let oldest = oldest.unwrap_or(head.generation + 1);
        if (oldest..=head.generation).contains(&number) {
            return Ok(());
        }
        Err(ChangeError::NoGeneration { number, oldest, newest: head.generation })
    }

    /// Writes what stood at the generation; no generation is made when it stands already. `expect` is asked of the whole
    /// configuration's tag.
    pub async fn roll_back(&self, actor: &Actor, to: u64, expect: &Expect) -> Result<Applied> {
        self.expect_generation(to).await?;
        let mut past = Past::behind(to);
        let mut attempts = 0;
        loop {
            let (proposals, terms) = self.way_back(&mut past, expect).await?;
            attempts += 1;
            match self.write_under(actor, &proposals, terms).await {
                // Somebody wrote meanwhile: what they did is to be taken back as well.
                Err(ChangeError::Stale { .. })
                    if attempts < ATTEMPTS && self.store.head().await?.generation != past.to => {}
                Err(error) => return Err(error),
                Ok(applied) => return Ok(past.warned(applied)),
            }
        }
    }

    /// What [`Self::roll_back`] would do, without doing it.
    pub async fn try_rolling_back(&self, to: u64, expect: &Expect) -> Result<Applied> {
        self.expect_generation(to).await?;
        let mut past = Past::behind(to);
        let (proposals, terms) = self.way_back(&mut past, expect).await?;
        // Nothing is written, so it does no harm if somebody else writes meanwhile.
        let terms = Terms { head: None, ..terms };
        self.dry_run_under(&proposals, &terms).await.map(|applied| past.warned(applied))
    }

    async fn way_back(&self, past: &mut Past, expect: &Expect) -> Result<(Vec<Proposal>, Terms)> {
        self.follow(past, self.store.head().await?.generation).await?;
        let summary = Some(format!("roll back to generation {}", past.from));
        let terms = Terms { summary, head: Some(past.to), expect: expect.clone(), ..Terms::default() };
        Ok((past.proposals()?, terms))
    }

    /// The configuration as it was at the generation, compiled; with the keys of today.
    pub async fn snapshot_at(&self, generation: u64) -> Result<Arc<Snapshot>> {
        self.expect_generation(generation).await?;
        let head = self.snapshot().await?;
        let past = self.past(generation, head.generation()).await?;
        past.of(&head).map(Arc::new)
    }

    /// What the snapshot would be, had these been made on it.
    pub fn tried_on(&self, snapshot: &Snapshot, proposals: &[Proposal]) -> Result<Arc<Snapshot>> {
        tried(snapshot, proposals, self.clock.now()).map(Arc::new)
    }
}

fn tried(snapshot: &Snapshot, proposals: &[Proposal], now: Timestamp) -> Result<Snapshot> {
    let mut items: HashMap<(Kind, &str), Option<Item>> = HashMap::new();
    let (mut edits, mut problems) = (Vec::new(), Vec::new());
    for proposal in proposals {
        let (kind, name) = (proposal.kind, proposal.name.as_str());
        let current = items.entry((kind, name)).or_insert_with(|| snapshot.item(kind, name));
        let json = current.as_ref().map(Item::to_json);
        let edited = match proposal.edited(current.as_ref(), json.as_ref()) {
            Err(ChangeError::Invalid(wrong)) => {
                problems.extend(wrong);
                continue;
            }
            edited => edited?,
        };
        *current = match edited {
            None => None,
            Some(value) => match read(proposal, &stamp::stamped(kind, value, json.as_ref(), now)) {
                Ok(item) => Some(item),
                Err(wrong) => {
                    problems.extend(wrong);
                    continue;
                }
            },
        };
        edits.push(match current {
            Some(item) => Edit::Put(item.clone()),
            None => Edit::Delete { kind, name: name.to_owned() },
        });
    }
    if !problems.is_empty() {
        problems.sort();
        return Err(ChangeError::Invalid(problems));
    }
    snapshot.apply(&Change { generation: snapshot.generation(), edits }).map_err(ChangeError::Invalid)
}

/// An entity's change as the history keeps it: without key hashes, and of the keys only those that differ, for an application may
/// have very many.
pub(super) fn recorded(kind: Kind, name: &str, entity: &Entity) -> EntityChange {
    let public = |item: &Option<Item>| item.as_ref().map(Item::to_public_json);
    // What nobody could read must not look like nothing: going back would delete it.
    let unreadable = entity.was_spoilt.then(|| json!({ UNREADABLE: true }));
    let (mut before, mut after) = (unreadable.or_else(|| public(&entity.before)), public(&entity.after));
    if let (Some(before), Some(after)) = (&mut before, &mut after) {
        let all = |side: &Value| keys_in(side).map(|(prefix, key)| (prefix.to_owned(), key.clone())).collect();
        let (was, is): (HashMap<String, Value>, HashMap<String, Value>) = (all(before), all(after));
        for side in [before, after] {
            if let Some(keys) = side.get_mut(KEYS).and_then(Value::as_array_mut) {
                keys.retain(|key| prefix_of(key).is_none_or(|prefix| was.get(prefix) != is.get(prefix)));
            }
        }
    }
    EntityChange { kind, name: name.to_owned(), before, after }
}

fn refuse_unreadable(kind: Kind, name: &str, value: &Value) -> Result<()> {
    if value.get(UNREADABLE).is_none() {
        return Ok(());
    }
    let message = "what stood there had been edited by hand and could not be read, so nothing can bring it back";
    Err(ChangeError::Invalid(vec![Problem::new(format!("{}/{name}", kind.plural()), message)]))
}

fn keys_in(side: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let keys = side.get(KEYS).and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(|key| Some((prefix_of(key)?, key)))
}

fn prefix_of(key: &Value) -> Option<&str> {
    key.get("prefix").and_then(Value::as_str)
}

fn add_key(side: &mut Value, key: Value) {
    if let Some(keys) = side.get_mut(KEYS).and_then(Value::as_array_mut) {
        keys.push(key);
    }
}

fn with_keys(mut value: Value, keys: Option<Value>) -> Value {
    if let Some(entity) = value.as_object_mut().filter(|entity: &&mut Map<String, Value>| entity.contains_key(KEYS)) {
        entity.insert(KEYS.to_owned(), keys.unwrap_or_else(|| json!([])));
    }
    value
}
