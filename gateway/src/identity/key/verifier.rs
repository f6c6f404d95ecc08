//! From a presented key to its application.
//!
//! What has the shape of a key is looked up in the request's snapshot by its prefix, and the memory asked whether this very key
//! was found good before. If not, the checksum tells noise at the price of one short hash, the same for every prefix. Only a
//! key that this fleet made, and that is neither known as good nor as wrong, is hashed by argon2. What the key may do, and
//! whether it still may, is read from the snapshot each time: the memory says no more than that the secret is right.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gateway_config::api_key::{ChecksumKey, HashedKey, NewKey, Presented, nobodys, parse, shape};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{ApiKey, Id, Timestamp};
use gateway_config::snapshot::{Code, CompiledApplication, KeyOf, Snapshot};

use super::flight::Flights;
use super::lanes::{Full, Lane, Lanes};
use super::memory::{Digest, Memory, Remembered, Revision};
use super::settings::KeySettings;
use super::wrong::{Sign, Wrong};

/// Whose key it is.
#[derive(Clone, Debug)]
pub(crate) struct KeyCaller {
    pub(crate) application: Arc<CompiledApplication>,
    pub(crate) key: Id<ApiKey>,
}

pub(super) struct Verifier {
    pub(super) checksum: ChecksumKey,
    digest_key: [u8; 32],
    pub(super) memory: Memory,
    wrong: Wrong,
    lanes: Lanes,
    flights: Flights<Verdict>,
    /// Verified where there is no key: what is unknown takes as long as what is wrong.
    nobodys: String,
    /// As the last request saw it.
    second: AtomicI64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Wrong,
    /// Too many wait already.
    Full,
}

impl Verifier {
    pub(super) fn new(master: &MasterKey, settings: &KeySettings) -> Self {
        let as_size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            checksum: ChecksumKey::of(master),
            digest_key: master.derive("digests of verified API keys"),
            memory: Memory::new(as_size(settings.remembered_keys)),
            wrong: Wrong::new(settings.wrong_keys_per_minute),
            lanes: Lanes::new(settings.at_once(), as_size(settings.argon2_queue)),
            flights: Flights::default(),
            nobodys: nobodys(&settings.argon2),
            second: AtomicI64::new(0),
        }
    }

    /// The answer, if it needs no hash.
    pub(super) fn remembered(
        &self,
        snapshot: &Snapshot,
        presented: &[u8],
        now: Timestamp,
    ) -> Option<Result<KeyCaller, Code>> {
        self.note_time(now);
        let Some(shaped) = shape(presented) else { return Some(Err(Code::CredentialsInvalid)) };
        let digest = self.digest(shaped.whole());
        let found = snapshot.key(shaped.prefix());
        let revision = found.map_or(Revision::NONE, |found| Revision::of(found.key));
        if let Some(found) = found
            && self.memory.holds(found.key.id, &digest, revision)
        {
            // What was found good had the right checksum.
            return Some(judge(&found, now));
        }
        if shaped.check(&self.checksum).is_none() {
            return Some(Err(Code::CredentialsInvalid));
        }
        self.wrong.remembers(&sign(&digest, revision), now).then_some(Err(Code::CredentialsInvalid))
    }

    /// The answer, whatever it takes.
    pub(super) async fn verify(
        &self,
        snapshot: &Snapshot,
        presented: &[u8],
        address: IpAddr,
        now: Timestamp,
    ) -> Result<KeyCaller, Code> {
        if let Some(known) = self.remembered(snapshot, presented, now) {
            return known;
        }
        let presented = parse(&self.checksum, presented).ok_or(Code::CredentialsInvalid)?;
        let found = snapshot.key(presented.prefix());
        let attempt = Attempt {
            presented,
            key: found.map(|found| found.key),
            digest: self.digest(presented.whole()),
            revision: found.map_or(Revision::NONE, |found| Revision::of(found.key)),
            address,
            now,
        };
        let sign = sign(&attempt.digest, attempt.revision);
        let verdict = self.flights.share(sign, self.attempt(attempt)).await;
        match (verdict, found) {
            (Verdict::Good, Some(found)) => judge(&found, now),
            (Verdict::Full, Some(_)) => Err(Code::Overloaded),
            // Also when the line is full: whether there is such a key is nobody's business.
            (Verdict::Wrong, _) | (_, None) => Err(Code::CredentialsInvalid),
        }
    }

    async fn attempt(&self, attempt: Attempt<'_>) -> Verdict {
        let Attempt { presented, key, digest, revision, address, now } = attempt;
        let is_charged = self.wrong.charge(address, now);
        let lane = match key {
            Some(_) if is_charged => Lane::Usual,
            // Somebody behind this address sends wrong keys. This one may still be good, if nobody tries its prefix.
            Some(key) if !self.wrong.remembers(&prefix_sign(key), now) => Lane::Doubt,
            None if is_charged => Lane::Doubt,
            Some(_) | None => return Verdict::Wrong,
        };
        let stored = key.map_or_else(|| self.nobodys.clone(), |key| key.api_key_hash.clone());
        let verified = self.lanes.verify(lane, presented.whole().into(), stored).await;
        if is_charged && !matches!(verified, Ok(Ok(false))) {
            self.wrong.refund(address, now);
        }
        match (verified, key) {
            (Err(Full), _) => Verdict::Full,
            (Ok(Ok(true)), Some(key)) => {
                self.memory.insert(Remembered { key: key.id, digest, revision, used: 0, written: 0 });
                Verdict::Good
            }
            (Ok(outcome), key) => {
                if let (Err(error), Some(key)) = (outcome, key) {
                    tracing::error!(key.prefix, %error, "could not verify an API key");
                }
                self.wrong.remember(sign(&digest, revision), now);
                if let Some(key) = key {
                    self.wrong.remember(prefix_sign(key), now);
                }
                Verdict::Wrong
            }
        }
    }

    /// A key that was made here need not be hashed again.
    pub(super) fn remember_new(&self, key: &ApiKey, new: &NewKey, hashed: &HashedKey) {
        if key.prefix == hashed.prefix {
            let digest = self.digest(new.text.expose().as_bytes());
            self.memory.insert(Remembered { key: key.id, digest, revision: Revision::of(key), used: 0, written: 0 });
        }
    }

    pub(super) fn used(&self, key: Id<ApiKey>) {
        self.memory.used(key, self.second.load(Ordering::Relaxed));
    }

    fn note_time(&self, now: Timestamp) {
        let second = now.micros().div_euclid(1_000_000);
        if self.second.load(Ordering::Relaxed) != second {
            self.second.store(second, Ordering::Relaxed);
        }
    }

    fn digest(&self, presented: &[u8]) -> Digest {
        blake3::keyed_hash(&self.digest_key, presented)
    }

    #[cfg(test)]
    pub(super) fn hashed(&self) -> usize {
        self.lanes.hashed()
    }

    #[cfg(test)]
    pub(super) fn hold_hashes(&self) -> impl Drop {
        self.lanes.hold()
    }
}

/// A key that has to be hashed.
struct Attempt<'a> {
    presented: Presented<'a>,
    key: Option<&'a ApiKey>,
    digest: Digest,
    revision: Revision,
    address: IpAddr,
    now: Timestamp,
}

/// The secret is right. Whether the key still counts, the snapshot says.
fn judge(found: &KeyOf<'_>, now: Timestamp) -> Result<KeyCaller, Code> {
    let KeyOf { key, application } = found;
    if !key.is_active {
        return Err(Code::CredentialsInvalid);
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Code::KeyExpired);
    }
    Ok(KeyCaller { application: Arc::clone(application), key: key.id })
}

/// Another one when the stored hash is another, or when there is one at last: a gateway may see a new key before it hears of it.
fn sign(digest: &Digest, revision: Revision) -> Sign {
    let mut sign = Sign::default();
    for (to, from) in sign.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    for (to, from) in sign.iter_mut().zip(revision.0.to_le_bytes()) {
        *to ^= from;
    }
    sign
}

fn prefix_sign(key: &ApiKey) -> Sign {
    key.id.uuid().into_bytes()
}
