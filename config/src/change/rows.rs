//! What stands in the store of that which proposals touch. Read there rather than taken from the compiled head: rows may have been
//! edited by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::{Base, Wanted};
use super::{ChangeError, Result};
use crate::model::{Item, Kind, Problem};
use crate::store::{ReadTransaction, StoreError};

/// Fewer entities of a kind than this are read one by one.
const FEW: usize = 64;
/// Reading one entity by itself costs as much as reading so many in a row.
const ONE_BY_ONE: usize = 8;

/// To read all of a kind rather than each of so many.
fn is_cheaper_whole(names: usize, of: usize) -> bool {
    names > FEW && names * ONE_BY_ONE > of
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    Nothing,
    Item(Item),
    /// There is a row that can't be read.
    Spoilt(Problem),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    found: HashMap<Kind, HashMap<String, Standing>>,
    /// What would go because no proposal names it, kind by kind in the order of names.
    pub(super) unnamed: Vec<(Kind, String)>,
}

impl Rows {
    pub(super) async fn read(transaction: &mut dyn ReadTransaction, base: &Base, wanted: &Wanted<'_>) -> Result<Self> {
        let mut names: BTreeMap<Kind, BTreeSet<&str>> = BTreeMap::new();
        for proposal in wanted.proposals {
            names.entry(proposal.kind).or_default().insert(&proposal.name);
        }
        for kind in &wanted.terms.prune {
            names.entry(*kind).or_default();
        }
        let mut rows = Self::default();
        for (kind, names) in names {
            let prune = wanted.terms.prune.contains(&kind);
            if prune || is_cheaper_whole(names.len(), base.count(kind)) {
                rows.read_all(transaction, kind, &names, prune).await?;
            } else {
                rows.read_each(transaction, kind, names).await?;
            }
        }
        Ok(rows)
    }

    /// Those of `names` as they stand now; `self` was read before.
    pub(super) async fn again<'n>(
        &self,
        transaction: &mut dyn ReadTransaction,
        names: impl IntoIterator<Item = (Kind, &'n str)>,
    ) -> Result<Self> {
        let mut sorted: BTreeMap<Kind, BTreeSet<&str>> = BTreeMap::new();
        for (kind, name) in names {
            sorted.entry(kind).or_default().insert(name);
        }
        let mut rows = Self::default();
        for (kind, names) in sorted {
            if is_cheaper_whole(names.len(), self.found.get(&kind).map_or(0, HashMap::len)) {
                rows.read_all(transaction, kind, &names, false).await?;
            } else {
                rows.read_each(transaction, kind, names).await?;
            }
        }
        Ok(rows)
    }

    pub(super) fn standing(&self, kind: Kind, name: &str) -> &Standing {
        self.found.get(&kind).and_then(|found| found.get(name)).unwrap_or(&Standing::Nothing)
    }

    async fn read_each(
        &mut self,
        transaction: &mut dyn ReadTransaction,
        kind: Kind,
        names: impl IntoIterator<Item = &str>,
    ) -> Result<()> {
        for name in names {
            let standing = match transaction.get(kind, name).await {
                Ok(None) => Standing::Nothing,
                Ok(Some(item)) => Standing::Item(item),
                Err(StoreError::Spoilt(problem)) => Standing::Spoilt(problem),
                Err(error) => return Err(error.into()),
            };
            self.found.entry(kind).or_default().insert(name.to_owned(), standing);
        }
        Ok(())
    }

    async fn read_all(
        &mut self,
        transaction: &mut dyn ReadTransaction,
        kind: Kind,
        names: &BTreeSet<&str>,
        prune: bool,
    ) -> Result<()> {
        let (items, spoilt) = transaction.all(kind).await?;
        let found = self.found.entry(kind).or_default();
        for item in items {
            if names.contains(item.name()) {
                found.insert(item.name().to_owned(), Standing::Item(item));
            } else if prune {
                self.unnamed.push((kind, item.name().to_owned()));
                found.insert(item.name().to_owned(), Standing::Item(item));
            }
        }
        // The defaults exist also without a row, and whose row a spoilt one is only asking by name tells for sure.
        let missing: Vec<&str> = names.iter().copied().filter(|name| !found.contains_key(*name)).collect();
        if !spoilt.is_empty() || kind == Kind::Defaults {
            self.read_each(transaction, kind, missing).await?;
        }
        if prune {
            self.refuse_unnamed(kind, &spoilt)?;
        }
        Ok(())
    }

    /// What can't be read can't be told to go, either, unless somebody names it.
    fn refuse_unnamed(&self, kind: Kind, spoilt: &[Problem]) -> Result<()> {
        let found = self.found.get(&kind).into_iter().flat_map(HashMap::values);
        let named: Vec<&Problem> =
            found.filter_map(|it| if let Standing::Spoilt(problem) = it { Some(problem) } else { None }).collect();
        let unnamed: Vec<Problem> = spoilt.iter().filter(|problem| !named.contains(problem)).cloned().collect();
        if unnamed.is_empty() { Ok(()) } else { Err(ChangeError::Invalid(unnamed)) }
    }
}
