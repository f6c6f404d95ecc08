//! The only door through which configuration is written: lock the head, edit, compile against the head, write rows and
//! generation, commit. Whatever the compiler refuses never reaches the store, and a write that changes nothing makes no
//! generation.
//!
//! The compiled head stays in memory and is brought up to date from the history, so a write costs what it changes.

mod diff;
mod error;
mod history;
mod keys;
mod plan;
mod proposal;
mod rows;
mod shape;
mod stamp;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::model::{
    Action, Actor, ChainKey, Digest, Edit, EntityChange, FORMAT_VERSION, Item, Kind, LIVE_MILLIS, NewAudit, Problem,
};
use crate::snapshot::{Snapshot, compile};
use crate::store::{Loaded, NewGeneration, ReadTransaction, Since, Store, WriteTransaction};

use plan::{Base, Entity, Planned, Wanted, plan, read};
use rows::Rows;

pub use diff::{Diff, Update, Whole};
pub use error::ChangeError;
pub use history::Past;
pub use keys::{Expiry, KeyChange, KeyError, KeyTarget, LONGEST_OVERLAP_SECONDS, tag_of_key};
pub use proposal::{Expect, Member, Op, Proposal};

/// Others may write so often while a large change is planned; then it is planned while they wait.
const ATTEMPTS_AHEAD: u32 = 3;

type Result<T> = std::result::Result<T, ChangeError>;

/// Writes configuration.
#[derive(Debug)]
pub struct Changer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    chain: ChainKey,
    /// The newest head known to compile. What it lacks is read before it is built upon, so an old one costs time and no more.
    head: RwLock<Option<Arc<Snapshot>>>,
    /// Held over a write, so that writes of one process queue here and not in the database.
    writing: Mutex<()>,
    /// Held over a catching up for readers, so that they don't all compile the same.
    reading: Mutex<()>,
}

/// What a write did, or would do.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The generation that holds now: a new one, or the head's when nothing changed.
    pub generation: u64,
    /// That was the newest before.
    pub before: u64,
    /// Of what stood before.
    pub digest_before: Digest,
    /// One for each proposal, and behind them one for each entity that went because no proposal names it.
    pub outcomes: Vec<Done>,
    pub warnings: Vec<Problem>,
    /// One for each entity that differs, as the history keeps it.
    pub changes: Vec<EntityChange>,
    pub snapshot: Arc<Snapshot>,
}

/// What a write is made under.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What the history says of it; made of the changes where nobody says it better.
    pub summary: Option<String>,
    /// The generation that must be the newest.
    pub head: Option<u64>,
    /// What must hold of the whole configuration's tag.
    pub expect: Expect,
    /// Everything of these kinds goes that no proposal names.
    pub prune: Vec<Kind>,
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
        Self { store, clock, chain, head: RwLock::default(), writing: Mutex::default(), reading: Mutex::default() }
    }

    /// The head, compiled and up to date. Waits for no write.
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let _turn = self.reading.lock().await;
        if let Some(known) = self.known() {
            match self.store.load_since(known.generation()).await? {
                Since::UpToDate => return Ok(known),
                Since::Changed { change, spoilt, .. } if spoilt.is_empty() => {
                    if let Ok(next) = known.apply(&change) {
                        return Ok(self.remember(next));
                    }
                }
                Since::Changed { .. } | Since::Reload => {}
            }
        }
        let loaded = self.store.load().await?;
        Ok(self.remember(aside(true, || compile_loaded(loaded))?))
    }

    /// Reads everything again: finds rows that were edited by hand. `true` when the head in memory was not what is stored.
    pub async fn reconcile(&self) -> Result<bool> {
        let loaded = self.store.load().await?;
        let known = self.known().map(|known| (known.generation(), known.digest()));
        // A write that came in between is newer than what was read.
        if known.is_some_and(|(generation, _)| generation > loaded.head.generation) {
            return Ok(false);
        }
        let compiled = aside(true, || compile_loaded(loaded))?;
        let differs =
            known.is_some_and(|known| known == (compiled.generation(), known.1) && known.1 != compiled.digest());
        self.remember(compiled);
        Ok(differs)
    }

    fn known(&self) -> Option<Arc<Snapshot>> {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, snapshot: impl Into<Arc<Snapshot>>) -> Arc<Snapshot> {
        let snapshot = snapshot.into();
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
        snapshot
    }

    /// Makes the change, all of it or nothing.
    pub async fn write(&self, actor: impl Into<Actor> + Send, proposals: &[Proposal]) -> Result<Applied> {
        self.write_under(actor, proposals, Terms::default()).await
    }

    /// The same, if the terms hold.
    pub async fn write_under(
        &self,
        actor: impl Into<Actor> + Send,
        proposals: &[Proposal],
        terms: Terms,
    ) -> Result<Applied> {
        let actor = actor.into();
        let wanted = Wanted { proposals, terms: &terms };
        let mut attempts = 0;
        let (_turn, mut transaction, planned) = loop {
            attempts += 1;
            // What takes a while to plan is planned before anybody is kept from writing, unless others always write meanwhile.
            let is_ahead = wanted.is_large() && attempts <= ATTEMPTS_AHEAD;
            let ahead = if is_ahead { Some(self.planned(&wanted).await?) } else { None };
            if let Some(planned) = ahead.as_ref().filter(|planned| planned.edits.is_empty()) {
                return Ok(planned.applied.clone());
            }
            let turn = self.writing.lock().await;
            let mut transaction = self.store.begin().await?;
            match ahead {
                None => {
                    let planned = self.plan_in(&mut *transaction, &wanted).await?;
                    break (turn, transaction, planned);
                }
                Some(planned) if planned.still_holds(&mut *transaction).await? => break (turn, transaction, planned),
                Some(_) => transaction.end().await?,
            }
        };
        let Planned { mut applied, edits, .. } = planned;
        if edits.is_empty() {
            transaction.end().await?;
            return Ok(applied);
        }
        self.refuse_old_nodes(&mut *transaction).await?;
        put(&mut *transaction, &edits).await?;
        let now = self.clock.now();
        let generation = NewGeneration {
            number: applied.generation,
            digest: applied.snapshot.digest(),
            created_at: now,
            actor: actor.name.clone(),
            summary: terms.summary.unwrap_or_else(|| summary(&applied.changes)),
            changes: std::mem::take(&mut applied.changes),
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
        applied.changes = generation.changes;
        self.remember(applied.snapshot.clone());
        Ok(applied)
    }

    /// What [`Self::write`] would do, without doing it.
    pub async fn dry_run(&self, proposals: &[Proposal]) -> Result<Applied> {
        self.dry_run_under(proposals, &Terms::default()).await
    }

    /// What [`Self::write_under`] would do, without doing it. Keeps nobody from writing.
    pub async fn dry_run_under(&self, proposals: &[Proposal], terms: &Terms) -> Result<Applied> {
        Ok(self.planned(&Wanted { proposals, terms }).await?.applied)
    }

    async fn planned(&self, wanted: &Wanted<'_>) -> Result<Planned> {
        let mut transaction = self.store.read().await?;
        let head = transaction.head();
        let (base, rows) = self.found(&mut *transaction, wanted).await?;
        transaction.end().await?;
        aside(wanted.is_large(), || plan(&base, head, rows, wanted, self.clock.now()))
    }

    async fn plan_in(&self, transaction: &mut dyn ReadTransaction, wanted: &Wanted<'_>) -> Result<Planned> {
        let (base, rows) = self.found(transaction, wanted).await?;
        aside(wanted.is_large(), || plan(&base, transaction.head(), rows, wanted, self.clock.now()))
    }

    /// All that a plan needs to know.
    async fn found(&self, transaction: &mut dyn ReadTransaction, wanted: &Wanted<'_>) -> Result<(Base, Rows)> {
        let base = self.base(transaction).await?;
        let rows = Rows::read(transaction, &base, wanted).await?;
        Ok((base, rows))
    }

    async fn base(&self, transaction: &mut dyn ReadTransaction) -> Result<Base> {
        if let Some(known) = self.known() {
            if known.generation() == transaction.head().generation {
                return Ok(Base::Sound(known));
            }
            match transaction.load_since(known.generation()).await? {
                Since::UpToDate => return Ok(Base::Sound(known)),
                Since::Changed { change, spoilt, .. } if spoilt.is_empty() => {
                    if let Ok(next) = known.apply(&change) {
                        return Ok(Base::Sound(self.remember(next)));
                    }
                }
                Since::Changed { .. } | Since::Reload => {}
            }
        }
        let loaded = transaction.load().await?;
        if loaded.spoilt.is_empty()
            && let Ok(snapshot) = aside(true, || compile(&loaded.configuration, loaded.head.generation))
        {
            return Ok(Base::Sound(self.remember(snapshot)));
        }
        Ok(Base::Spoilt(Box::new(loaded)))
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

impl Applied {
    /// How many of the entities that were asked for stand as they stood.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.outcomes.iter().filter(|done| !done.changed).count()
    }
}

async fn put(transaction: &mut dyn WriteTransaction, edits: &[Edit]) -> Result<()> {
    let deleted = edits.iter().filter(|edit| matches!(edit, Edit::Delete { .. }));
    let mut gone: BTreeMap<Kind, Vec<&str>> = BTreeMap::new();
    for edit in deleted {
        gone.entry(edit.kind()).or_default().push(edit.name());
    }
    for (kind, names) in gone {
        transaction.delete_all(kind, &names).await?;
    }
    let items: Vec<&Item> = edits.iter().filter_map(Edit::item).collect();
    Ok(transaction.put_all(&items).await?)
}

/// Long computing must not keep what else a thread of the runtime has to do.
fn aside<T>(is_long: bool, work: impl FnOnce() -> T) -> T {
    let has_others = || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_long && has_others() { tokio::task::block_in_place(work) } else { work() }
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
