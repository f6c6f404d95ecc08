//! On the database itself, as `serve` and `migrate` use it.

use std::sync::Arc;

use gateway_config::change::{Changer, Terms};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::document::{self, Export, Form};
use gateway_config::master_key::{MasterKey, MasterKeyError};
use gateway_config::model::{ChainKey, Kind};
use gateway_config::store::{self, Options, Store};
use tokio_util::sync::CancellationToken;

use super::output::Output;
use super::{Done, Order, Place, Trouble};
use crate::api::{Report, terms, wait_on};

#[derive(Debug)]
pub(super) struct Direct {
    store: Arc<dyn Store>,
    database_url: String,
}

impl Direct {
    /// Nothing is made where nothing is: a mistyped name must not become an empty database.
    pub(super) async fn open(place: &Place) -> Result<Self, Trouble> {
        let database_url = place.common.database_url.clone();
        let store = store::open_with(&database_url, Options { may_create: false, ..Options::default() }).await?;
        store.head().await?;
        Ok(Self { store, database_url })
    }

    pub(super) async fn export(&self, sections: &[Kind], form: Form, output: &mut Output) -> Result<(), Trouble> {
        let loaded = self.store.load().await?;
        if !loaded.spoilt.is_empty() {
            return Err(Trouble::Problems(loaded.spoilt));
        }
        Export::new(&loaded.configuration, sections, form).try_for_each(|piece| output.write(piece.as_bytes()))
    }

    pub(super) async fn apply(&self, order: Order) -> Result<Done, Trouble> {
        let Order { document, is_json, prune, dry_run, wait } = order;
        let document = if is_json {
            document::parse_json(&document)?
        } else {
            let text = std::str::from_utf8(&document);
            document::parse(text.map_err(|_| Trouble::Failed("the document is not UTF-8".to_owned()))?)?
        };
        let declared = document::declared(document)?;
        let terms: Terms = terms(&declared, prune);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let chain = self.chain(dry_run)?;
        let changer = Changer::new(self.store.clone(), clock.clone(), chain.clone());
        if dry_run {
            let applied = changer.dry_run_under(&declared.proposals, &terms).await?;
            return Ok(Done { report: Report::of(&applied, true), waiting_for: Vec::new() });
        }
        self.refuse_other_key(&chain).await?;
        let actor = format!("cli:{}", user());
        let applied = changer.write_under(actor.as_str(), &declared.proposals, terms).await?;
        let waiting_for = match wait {
            None => Vec::new(),
            Some(at_most) => {
                let never = CancellationToken::new();
                let spread = wait_on(&*self.store, &*clock, &never, applied.generation, at_most).await;
                if !spread.is_known() {
                    let message =
                        format!("generation {} is written, but the nodes could not be asked", applied.generation);
                    return Err(Trouble::Failed(message));
                }
                spread.waiting_for
            }
        };
        Ok(Done { report: Report::of(&applied, false), waiting_for })
    }

    /// Signed under another master key than the fleet's, the audit would look as if somebody had altered it.
    async fn refuse_other_key(&self, chain: &ChainKey) -> Result<(), Trouble> {
        let newest = self.store.audit_head().await?.number;
        let entries = self.store.audit_behind(newest.saturating_sub(2), 2).await?;
        let (before, entry) = match entries.as_slice() {
            [Ok(first)] if first.number == 1 => ("", first),
            [Ok(before), Ok(entry)] => (before.hash.as_str(), entry),
            // There is nothing to compare with.
            _ => return Ok(()),
        };
        if chain.hash(before, entry) == entry.hash {
            return Ok(());
        }
        let message = "the newest entry of the audit was not signed under this master key: either it is not the fleet's, or the audit was \
            altered; `admin-api audit verify` tells";
        Err(Trouble::Failed(message.to_owned()))
    }

    /// What the audit is signed by.
    fn chain(&self, dry_run: bool) -> Result<ChainKey, Trouble> {
        let wrong = |error: MasterKeyError| Trouble::Settings(error.to_string());
        let master = if dry_run {
            // Nothing is signed, so any key will do, and whoever only looks needs none.
            MasterKey::of("nothing is ever signed under this key").map_err(wrong)?
        } else {
            MasterKey::load(&self.database_url).map_err(wrong)?
        };
        Ok(ChainKey::of(&master))
    }
}

/// As the audit names whoever sits at the terminal.
fn user() -> String {
    let named = ["USER", "LOGNAME"].iter().filter_map(|name| std::env::var(name).ok()).find(|name| !name.is_empty());
    let name = named.unwrap_or_else(|| "unknown".to_owned());
    name.chars().filter(|letter| !letter.is_control()).take(64).collect()
}
