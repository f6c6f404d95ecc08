//! The only door through which configuration is written: lock the head, edit, compile against the head, write rows and
//! generation, commit. Whatever the compiler refuses never reaches the store, and a write that changes nothing makes no
//! generation.
//!
//! The compiled head stays in memory and is brought up to date from the history, so a write costs what it changes.

mod error;
mod keys;
mod proposal;
mod shape;
mod stamp;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::model::{
    Action, Actor, ChainKey, Change, Digest, Edit, EntityChange, FORMAT_VERSION, Item, Kind, LIVE_MILLIS, NewAudit,
    Problem, Timestamp,
};
use crate::snapshot::{Snapshot, compile};
use crate::store::{Loaded, NewGeneration, Since, Store, StoreError, WriteTransaction};

pub use error::ChangeError;
pub use keys::{Expiry, KeyChange, KeyError, KeyTarget, LONGEST_OVERLAP_SECONDS, tag_of_key};
pub use proposal::{Expect, Member, Op, Proposal};

type Result<T> = std::result::Result<T, ChangeError>;

/// Writes configuration.
#[derive(Debug)]
pub struct Changer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    chain: ChainKey,
    /// The newest head known to compile. Held over a write, so that writes of one process queue here and not in the database.
    head: Mutex<Option<Arc<Snapshot>>>,
}

/// What a write did, or would do.
#[derive(Debug)]
pub struct Applied {
    /// The generation that holds now: a new one, or the head's when nothing changed.
    pub generation: u64,
    /// One for each proposal.
    pub outcomes: Vec<Done>,
    pub warnings: Vec<Problem>,
    pub snapshot: Arc<Snapshot>,
}

#[derive(Clone, Debug)]
pub struct Done {
    pub kind: Kind,
    pub name: String,
    pub created: bool,
    pub changed: bool,
    /// As it stands now; `None` when it was deleted.
    pub item: Option<Item>,
}

impl Changer {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, chain: ChainKey) -> Self {
        Self { store, clock, chain, head: Mutex::default() }
    }

    /// The head, compiled and up to date.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let mut head = self.head.lock().await;
        if let Some(known) = head.as_ref() {
            match self.store.load_since(known.generation()).await? {
                Since::UpToDate => return Ok(known.clone()),
                Since::Changed { change, spoilt, .. } if spoilt.is_empty() => {
                    if let Ok(next) = known.apply(&change) {
                        return Ok(head.insert(Arc::new(next)).clone());
                    }
                }
                Since::Changed { .. } | Since::Reload => {}
            }
        }
        let compiled = Arc::new(compile_loaded(self.store.load().await?)?);
        Ok(head.insert(compiled).clone())
    }

    /// Reads everything again: finds rows that were edited by hand. `true` when the head in memory was not what is stored.
    pub async fn reconcile(&self) -> Result<bool> {
        let loaded = self.store.load().await?;
        let mut head = self.head.lock().await;
        let known = head.as_ref().map(|known| (known.generation(), known.digest()));
        // A write that came in between is newer than what was read.
        if known.is_some_and(|(generation, _)| generation > loaded.head.generation) {
            return Ok(false);
        }
        let compiled = compile_loaded(loaded)?;
        let differs =
            known.is_some_and(|known| known == (compiled.generation(), known.1) && known.1 != compiled.digest());
        *head = Some(Arc::new(compiled));
        Ok(differs)
    }

    /// Makes the change, all of it or nothing.
    pub async fn write(&self, actor: impl Into<Actor> + Send, proposals: &[Proposal]) -> Result<Applied> {
        let actor = actor.into();
        let mut known = self.head.lock().await;
        let mut transaction = self.store.begin().await?;
        let planned = self.plan(&mut known, &mut *transaction, proposals).await?;
        let Planned { applied, edits, changes } = planned;
        if edits.is_empty() {
            return Ok(applied);
        }
        self.refuse_old_nodes(&mut *transaction).await?;
        for edit in &edits {
            match edit {
                Edit::Put(item) => transaction.put(item).await?,
                Edit::Delete { kind, name } => transaction.delete(*kind, name).await?,
            }
        }
        let now = self.clock.now();
        let generation = NewGeneration {
            number: applied.generation,
            digest: applied.snapshot.digest(),
            created_at: now,
            actor: actor.name.clone(),
            summary: summary(&changes),
            changes,
        };
        let audit = NewAudit {
            at: now,
            actor,
            action: Action::ConfigWrite,
            summary: generation.summary.clone(),
            generation: Some(generation.number),
            changes: generation.changes.iter().map(Into::into).collect(),
        };
        transaction.audit(&audit, &self.chain).await?;
        transaction.commit(&generation).await?;
        *known = Some(applied.snapshot.clone());
        Ok(applied)
    }

    /// What [`Self::write`] would do, without doing it.
    pub async fn dry_run(&self, proposals: &[Proposal]) -> Result<Applied> {
        let mut known = self.head.lock().await;
        let mut transaction = self.store.begin().await?;
        Ok(self.plan(&mut known, &mut *transaction, proposals).await?.applied)
    }

    async fn plan(
        &self,
        known: &mut Option<Arc<Snapshot>>,
        transaction: &mut dyn WriteTransaction,
        proposals: &[Proposal],
    ) -> Result<Planned> {
        let base = base(known, transaction).await?;
        let now = self.clock.now();
        let mut touched = Touched::default();
        let mut unreadable = Vec::new();
        for proposal in proposals {
            match touched.edit(transaction, proposal, now).await {
                Err(ChangeError::Invalid(problems)) => unreadable.extend(problems),
                edited => edited?,
            }
        }
        if !unreadable.is_empty() {
            unreadable.sort();
            return Err(ChangeError::Invalid(unreadable));
        }
        let Touched { order, entities, outcomes } = touched;
        let (mut edits, mut changes) = (Vec::new(), Vec::new());
        for key in order {
            let Some(entity) = entities.get(&key) else { continue };
            let (kind, name) = key;
            if entity.before.as_ref().map(Item::digest) == entity.after.as_ref().map(Item::digest) && !entity.was_spoilt
            {
                continue;
            }
            let public = |item: &Option<Item>| item.as_ref().map(Item::to_public_json);
            changes.push(EntityChange {
                kind,
                name: name.clone(),
                before: public(&entity.before),
                after: public(&entity.after),
            });
            edits.push(match &entity.after {
                Some(item) => Edit::Put(item.clone()),
                None => Edit::Delete { kind, name },
            });
        }
        let head = transaction.head();
        let (generation, snapshot) = if edits.is_empty() {
            (head.generation, base.compiled(head.generation, &[])?)
        } else {
            base.refuse_orphans(&edits)?;
            (head.generation + 1, base.compiled(head.generation + 1, &edits)?)
        };
        let warnings = snapshot.warnings(&edits);
        let applied = Applied { generation, outcomes, warnings, snapshot };
        Ok(Planned { applied, edits, changes })
    }

    /// A node that can't read what this build writes would silently serve something else.
    async fn refuse_old_nodes(&self, transaction: &mut dyn WriteTransaction) -> Result<()> {
        let now = self.clock.now();
        let nodes = transaction.nodes().await?;
        let old = nodes.into_iter().find(|node| {
            !node.has_left && now.millis_since(node.last_seen) <= LIVE_MILLIS && node.format < FORMAT_VERSION
        });
        match old {
            Some(node) => Err(ChangeError::NodeTooOld { node: node.id, format: node.format }),
            None => Ok(()),
        }
    }
}

struct Planned {
    applied: Applied,
    edits: Vec<Edit>,
    changes: Vec<EntityChange>,
}

/// What the locked head compiles to.
enum Base {
    Sound(Arc<Snapshot>),
    /// Rows were spoilt by hand. A change that mends them all may pass.
    Spoilt(Box<Loaded>),
}

async fn base(known: &mut Option<Arc<Snapshot>>, transaction: &mut dyn WriteTransaction) -> Result<Base> {
    if let Some(snapshot) = known.as_ref() {
        match transaction.load_since(snapshot.generation()).await? {
            Since::UpToDate => return Ok(Base::Sound(snapshot.clone())),
            Since::Changed { change, spoilt, .. } if spoilt.is_empty() => {
                if let Ok(next) = snapshot.apply(&change) {
                    return Ok(Base::Sound(known.insert(Arc::new(next)).clone()));
                }
            }
            Since::Changed { .. } | Since::Reload => {}
        }
    }
    let loaded = transaction.load().await?;
    if loaded.spoilt.is_empty()
        && let Ok(snapshot) = compile(&loaded.configuration, loaded.head.generation)
    {
        return Ok(Base::Sound(known.insert(Arc::new(snapshot)).clone()));
    }
    Ok(Base::Spoilt(Box::new(loaded)))
}

impl Base {
    fn compiled(&self, generation: u64, edits: &[Edit]) -> Result<Arc<Snapshot>> {
        let compiled = match self {
            Self::Sound(snapshot) if edits.is_empty() => return Ok(snapshot.clone()),
            Self::Sound(snapshot) => snapshot.apply(&Change { generation, edits: edits.to_vec() }),
            Self::Spoilt(loaded) => {
                let mut configuration = loaded.configuration.clone();
                for edit in edits {
                    match edit {
                        Edit::Put(item) => drop(configuration.put(item.clone())),
                        Edit::Delete { kind, name } => drop(configuration.remove(*kind, name)),
                    }
                }
                let mended = |problem: &Problem| {
                    edits.iter().any(|edit| {
                        let prefix = format!("{}/{}", edit.kind().plural(), edit.name());
                        problem.path.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    })
                };
                let left: Vec<Problem> = loaded.spoilt.iter().filter(|problem| !mended(problem)).cloned().collect();
                if left.is_empty() { compile(&configuration, generation) } else { Err(left) }
            }
        };
        compiled.map(Arc::new).map_err(ChangeError::Invalid)
    }

    /// Deleting what something points at is a conflict, and its answer names the referrers.
    fn refuse_orphans(&self, edits: &[Edit]) -> Result<()> {
        let Self::Sound(snapshot) = self else { return Ok(()) };
        let is_edited = |name: &str| edits.iter().any(|edit| edit.kind() == Kind::Route && edit.name() == name);
        for edit in edits {
            let Edit::Delete { kind, name } = edit else { continue };
            let mut by: Vec<String> =
                snapshot.referrers(*kind, name).filter(|route| !is_edited(route)).map(ToOwned::to_owned).collect();
            by.sort_unstable();
            if !by.is_empty() {
                return Err(ChangeError::Referred { kind: *kind, name: name.clone(), by });
            }
        }
        Ok(())
    }
}

/// The entities that the proposals touch, as they were and as they will be.
#[derive(Default)]
struct Touched {
    order: Vec<(Kind, String)>,
    entities: HashMap<(Kind, String), Entity>,
    outcomes: Vec<Done>,
}

struct Entity {
    before: Option<Item>,
    after: Option<Item>,
    /// The row could not be read; whatever is written mends it.
    was_spoilt: bool,
}

impl Touched {
    async fn edit(
        &mut self,
        transaction: &mut dyn WriteTransaction,
        proposal: &Proposal,
        now: Timestamp,
    ) -> Result<()> {
        let key = (proposal.kind, proposal.name.clone());
        if !self.entities.contains_key(&key) {
            let (before, was_spoilt) = match transaction.get(proposal.kind, &proposal.name).await {
                Ok(before) => (before, false),
                Err(StoreError::Spoilt(_)) if proposal.replaces_all() => (None, true),
                Err(error) => return Err(error.into()),
            };
            self.order.push(key.clone());
            self.entities.insert(key.clone(), Entity { after: before.clone(), before, was_spoilt });
        }
        let Some(entity) = self.entities.get_mut(&key) else { return Ok(()) };
        let current = entity.after.take();
        let current_json = current.as_ref().map(Item::to_json);
        let edited = if entity.was_spoilt && current.is_none() && proposal.deletes_whatever_stands() {
            // There is nothing that could be read, but there is a row to delete.
            None
        } else {
            proposal.edited(current.as_ref(), current_json.as_ref())?
        };
        let next = match edited {
            None => None,
            Some(value) => {
                let value = stamp::stamped(proposal.kind, value, current_json.as_ref(), now);
                Some(read(proposal, &value).map_err(ChangeError::Invalid)?)
            }
        };
        let (was, is) = (current.as_ref().map(Item::digest), next.as_ref().map(Item::digest));
        // Equal content keeps its times: nothing was updated.
        let item = if was == is { current } else { next };
        entity.after.clone_from(&item);
        self.outcomes.push(Done {
            kind: proposal.kind,
            name: proposal.name.clone(),
            created: proposal.creates(current_json.as_ref()),
            changed: was != is || entity.was_spoilt,
            item,
        });
        Ok(())
    }
}

/// The entity that the value holds.
fn read(proposal: &Proposal, value: &Value) -> std::result::Result<Item, Vec<Problem>> {
    let item = Item::from_json(proposal.kind, value.clone()).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    shape::check(value, &item.to_json(), &format!("{}/{}", proposal.kind.plural(), proposal.name), &mut problems);
    if problems.is_empty() { Ok(item) } else { Err(problems) }
}

/// The tag by which a reader proves what it read: the entity's content hash, shortened.
#[must_use]
pub fn tag(digest: Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

/// The tag of a part of an entity.
#[must_use]
pub fn tag_of_member(kind: Kind, member: &Value) -> String {
    tag(Digest::of(kind, member))
}

fn compile_loaded(loaded: Loaded) -> Result<Snapshot> {
    if !loaded.spoilt.is_empty() {
        return Err(ChangeError::Invalid(loaded.spoilt));
    }
    compile(&loaded.configuration, loaded.head.generation).map_err(ChangeError::Invalid)
}

fn summary(changes: &[EntityChange]) -> String {
    let word = |change: &EntityChange| match (&change.before, &change.after) {
        (_, None) => "delete",
        (None, _) => "create",
        _ => "update",
    };
    let first = changes.first().map(|change| format!("{} {} {}", word(change), change.kind, change.name));
    match (first, changes.len()) {
        (None, _) => String::new(),
        (Some(first), 1) => first,
        (Some(first), count) => format!("{first} and {} more", count - 1),
    }
}
