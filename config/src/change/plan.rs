//! From proposals to edits that compile: pure, so that it can be done before anything is locked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::rows::{Rows, Standing};
use super::{Applied, ChangeError, Done, Expect, Op, Proposal, Result, Terms, history, shape, stamp, tag};
use crate::model::{Change, Digest, Edit, EntityChange, Item, Kind, Problem, Timestamp};
use crate::snapshot::{Snapshot, compile};
use crate::store::{Head, Loaded, ReadTransaction, StoreError};

/// From so many proposals on, planning takes long enough to be done before the head is locked.
const LARGE: usize = 200;

/// What somebody asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) proposals: &'w [Proposal],
    pub(super) terms: &'w Terms,
}

impl Wanted<'_> {
    pub(super) fn is_large(&self) -> bool {
        self.proposals.len() >= LARGE || !self.terms.prune.is_empty()
    }

    fn check(&self, base: &Base, head: Head) -> Result<()> {
        let what = || "the configuration".to_owned();
        let is_expected = match &self.terms.expect {
            Expect::Anything => true,
            Expect::Absent => return Err(ChangeError::Exists { what: what() }),
            Expect::Tags(tags) => tags.is_empty() || tags.contains(&tag(base.digest())),
        };
        if !is_expected || self.terms.head.is_some_and(|newest| newest != head.generation) {
            return Err(ChangeError::Stale { what: what() });
        }
        Ok(())
    }
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) applied: Applied,
    pub(super) edits: Vec<Edit>,
    /// What it was made for.
    head: Head,
    rows: Rows,
}

impl Planned {
    /// Nobody wrote since, not even by hand what is about to be written.
    pub(super) async fn still_holds(&self, transaction: &mut dyn ReadTransaction) -> Result<bool> {
        if transaction.head() != self.head {
            return Ok(false);
        }
        let names = self.edits.iter().map(|edit| (edit.kind(), edit.name()));
        let now = self.rows.again(transaction, names.clone()).await?;
        let is_same = |(kind, name)| now.standing(kind, name) == self.rows.standing(kind, name);
        Ok(names.into_iter().all(is_same))
    }
}

/// What the head compiles to.
#[derive(Debug)]
pub(super) enum Base {
    Sound(Arc<Snapshot>),
    /// Rows were spoilt by hand. A change that mends them all may pass.
    Spoilt(Box<Loaded>),
}

/// The edits that the proposals come to, compiled; or all that is wrong with them.
pub(super) fn plan(base: &Base, head: Head, rows: Rows, wanted: &Wanted<'_>, now: Timestamp) -> Result<Planned> {
    wanted.check(base, head)?;
    let mut touched = Touched::default();
    let mut unreadable = Vec::new();
    let pruned: Vec<Proposal> = rows
        .unnamed
        .iter()
        .map(|(kind, name)| Proposal { op: Op::Delete, ..Proposal::put(*kind, name, Value::Null) })
        .collect();
    for proposal in wanted.proposals.iter().chain(&pruned) {
        match touched.edit(&rows, proposal, now) {
            Err(ChangeError::Invalid(problems)) => unreadable.push((proposal, problems)),
            edited => edited?,
        }
    }
    let (edits, changes) = touched.differences();
    if !unreadable.is_empty() {
        return Err(ChangeError::Invalid(all_problems(base, head, &edits, unreadable)));
    }
    let (generation, snapshot) = if edits.is_empty() {
        (head.generation, base.compiled(head.generation, &[])?)
    } else {
        base.refuse_orphans(&edits, !wanted.terms.prune.is_empty())?;
        (head.generation + 1, base.compiled(head.generation + 1, &edits)?)
    };
    let mut warnings = snapshot.warnings(&edits);
    warnings.extend(pruned.iter().filter_map(|proposal| lost_keys(&rows, proposal)));
    let Touched { outcomes, .. } = touched;
    let (before, digest_before) = (head.generation, base.digest());
    let applied = Applied { generation, before, digest_before, outcomes, warnings, changes, snapshot };
    Ok(Planned { applied, edits, head, rows })
}

/// What could not be read, and what is wrong with the rest of it.
fn all_problems(base: &Base, head: Head, edits: &[Edit], unreadable: Vec<(&Proposal, Vec<Problem>)>) -> Vec<Problem> {
    let names: Vec<String> = unreadable.iter().map(|(proposal, _)| format!("\"{}\"", proposal.name)).collect();
    let mut problems: Vec<Problem> = unreadable.into_iter().flat_map(|(_, problems)| problems).collect();
    if let Err(ChangeError::Invalid(others)) = base.compiled(head.generation + 1, edits) {
        // That something is missing which could not be read is no news.
        let is_news = |problem: &Problem| !names.iter().any(|name| problem.message.contains(name));
        problems.extend(others.into_iter().filter(is_news));
    }
    problems.sort();
    problems.dedup();
    problems
}

fn lost_keys(rows: &Rows, pruned: &Proposal) -> Option<Problem> {
    let Standing::Item(Item::Application(application)) = rows.standing(pruned.kind, &pruned.name) else { return None };
    let count = application.api_keys.len();
    let message = match count {
        1 => "is deleted with its API key; nothing brings it back".to_owned(),
        _ => format!("is deleted with its {count} API keys; nothing brings them back"),
    };
    (count > 0).then(|| Problem::new(format!("applications/{}", pruned.name), message))
}

impl Base {
    pub(super) fn count(&self, kind: Kind) -> usize {
        match self {
            Self::Sound(snapshot) => snapshot.count(kind),
            // Everything was read already, so reading one kind is little.
            Self::Spoilt(_) => 0,
        }
    }

    fn digest(&self) -> Digest {
        match self {
            Self::Sound(snapshot) => snapshot.digest(),
            Self::Spoilt(loaded) => loaded.head.digest,
        }
    }

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

    /// Deleting what something points at is a conflict, and its answer names the referrers; where the deletion was not asked for by
    /// name, all such conflicts are what is wrong with the document.
    fn refuse_orphans(&self, edits: &[Edit], is_document: bool) -> Result<()> {
        let Self::Sound(snapshot) = self else { return Ok(()) };
        let routes = edits.iter().filter(|edit| edit.kind() == Kind::Route);
        let edited: HashSet<&str> = routes.map(Edit::name).collect();
        let mut problems = Vec::new();
        for edit in edits {
            let Edit::Delete { kind, name } = edit else { continue };
            let referrers = snapshot.referrers(*kind, name).filter(|route| !edited.contains(route));
            let mut by: Vec<String> = referrers.map(ToOwned::to_owned).collect();
            by.sort_unstable();
            if by.is_empty() {
                continue;
            }
            if !is_document {
                return Err(ChangeError::Referred { kind: *kind, name: name.clone(), by });
            }
            let by: Vec<String> = by.iter().map(|route| format!("route \"{route}\"")).collect();
            let message = format!("is not in the document, but still used by {}, which stays", by.join(", "));
            problems.push(Problem::new(format!("{}/{name}", kind.plural()), message));
        }
        if problems.is_empty() { Ok(()) } else { Err(ChangeError::Invalid(problems)) }
    }
}

/// The entities that the proposals touch, as they were and as they will be.
#[derive(Default)]
struct Touched {
    order: Vec<(Kind, String)>,
    entities: HashMap<(Kind, String), Entity>,
    outcomes: Vec<Done>,
}

#[derive(Debug)]
pub(super) struct Entity {
    pub(super) before: Option<Item>,
    pub(super) after: Option<Item>,
    /// The row could not be read; whatever is written mends it.
    pub(super) was_spoilt: bool,
    /// Some proposal changed it.
    is_changed: bool,
}

impl Entity {
    fn found(standing: &Standing, proposal: &Proposal) -> Result<Self> {
        let (before, was_spoilt) = match standing {
            Standing::Nothing => (None, false),
            Standing::Item(item) => (Some(item.clone()), false),
            Standing::Spoilt(_) if proposal.replaces_all() => (None, true),
            Standing::Spoilt(problem) => return Err(StoreError::Spoilt(problem.clone()).into()),
        };
        Ok(Self { after: before.clone(), before, was_spoilt, is_changed: false })
    }
}

impl Touched {
    fn edit(&mut self, rows: &Rows, proposal: &Proposal, now: Timestamp) -> Result<()> {
        let key = (proposal.kind, proposal.name.clone());
        if !self.entities.contains_key(&key) {
            let entity = Entity::found(rows.standing(proposal.kind, &proposal.name), proposal)?;
            self.order.push(key.clone());
            self.entities.insert(key.clone(), entity);
        }
        let Some(entity) = self.entities.get_mut(&key) else { return Ok(()) };
        let current = entity.after.clone();
        let current_json = current.as_ref().map(Item::to_json);
        if proposal.repeats(current_json.as_ref()) {
            let (kind, name) = key;
            self.outcomes.push(Done { kind, name, created: false, changed: false, item: current });
            return Ok(());
        }
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
                Some(read_with_json(proposal, &value).map_err(ChangeError::Invalid)?)
            }
        };
        let is_same = match (&current_json, &next) {
            (None, None) => true,
            (Some(was), Some((_, is))) => stamp::is_same(proposal.kind, was, is),
            _ => false,
        };
        // Equal content keeps its times: nothing was updated.
        let item = if is_same { current } else { next.map(|(item, _)| item) };
        entity.after.clone_from(&item);
        entity.is_changed |= !is_same;
        self.outcomes.push(Done {
            kind: proposal.kind,
            name: proposal.name.clone(),
            created: proposal.creates(current_json.as_ref()),
            changed: !is_same || entity.was_spoilt,
            item,
        });
        Ok(())
    }

    /// What is to be written, and how the history tells it.
    fn differences(&self) -> (Vec<Edit>, Vec<EntityChange>) {
        let (mut edits, mut changes) = (Vec::new(), Vec::new());
        for key in &self.order {
            let Some(entity) = self.entities.get(key) else { continue };
            let (kind, name) = key;
            // Several proposals may have changed it back.
            let differs = || entity.before.as_ref().map(Item::digest) != entity.after.as_ref().map(Item::digest);
            if !(entity.was_spoilt || (entity.is_changed && differs())) {
                continue;
            }
            changes.push(history::recorded(*kind, name, entity));
            edits.push(match &entity.after {
                Some(item) => Edit::Put(item.clone()),
                None => Edit::Delete { kind: *kind, name: name.clone() },
            });
        }
        (edits, changes)
    }
}

/// The entity that the value holds.
pub(super) fn read(proposal: &Proposal, value: &Value) -> std::result::Result<Item, Vec<Problem>> {
    read_with_json(proposal, value).map(|(item, _)| item)
}

fn read_with_json(proposal: &Proposal, value: &Value) -> std::result::Result<(Item, Value), Vec<Problem>> {
    let item = Item::from_json(proposal.kind, value.clone()).map_err(|problem| vec![problem])?;
    let json = item.to_json();
    let mut problems = Vec::new();
    shape::check(value, &json, &format!("{}/{}", proposal.kind.plural(), proposal.name), &mut problems);
    if problems.is_empty() { Ok((item, json)) } else { Err(problems) }
}
