//! Task ids. An id proves by itself that a gateway of the fleet made it, for whom and for which queue: a node that does not have the
//! task's record yet still knows what to say. With it go two secrets that only the fleet can compute: the worker's token, and
//! the capability by which somebody without an application sees their own task.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_config::clock::new_id;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Application, Id, Queue, Timestamp};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// Made of a time and chance.
const FRESH: u8 = 1;
/// Made of an `Idempotency-Key`: the same key leads to the same task.
const DERIVED: u8 = 2;
const SEAL: usize = 12;
const BODY: usize = 1 + 3 * 16;
const SECRET: usize = 16;

/// The id of a task. One that was read from outside proves nothing until [`TaskKeys::verify`] has said so.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TaskId([u8; BODY + SEAL]);

/// Keys of the fleet, of which nothing is stored.
#[derive(Clone)]
pub(crate) struct TaskKeys {
    seal: [u8; 32],
    token: [u8; 32],
    capability: [u8; 32],
    idempotency: [u8; 32],
}

impl TaskKeys {
    pub(crate) fn of(master: &MasterKey) -> Self {
        Self {
            seal: master.derive("task ids"),
            token: master.derive("task tokens"),
            capability: master.derive("task capabilities"),
            idempotency: master.derive("idempotency keys"),
        }
    }

    /// `owner`: nil for a caller without an application.
    pub(crate) fn fresh(&self, owner: Id<Application>, queue: Id<Queue>) -> TaskId {
        self.sealed(FRESH, new_id().as_bytes(), owner, queue)
    }

    /// `who`: tells callers of one owner apart where the owner does not, as for those without an application.
    pub(crate) fn derived(&self, owner: Id<Application>, queue: Id<Queue>, who: &str, idempotency_key: &str) -> TaskId {
        let mut hasher = blake3::Hasher::new_keyed(&self.idempotency);
        hasher.update(owner.uuid().as_bytes()).update(queue.uuid().as_bytes());
        hasher.update(&(who.len() as u64).to_le_bytes()).update(who.as_bytes()).update(idempotency_key.as_bytes());
        let mut unique = [0; 16];
        hasher.finalize_xof().fill(&mut unique);
        self.sealed(DERIVED, &unique, owner, queue)
    }

    fn sealed(&self, kind: u8, unique: &[u8; 16], owner: Id<Application>, queue: Id<Queue>) -> TaskId {
        let mut id = [0; BODY + SEAL];
        let (owner, queue) = (owner.uuid(), queue.uuid());
        let parts = [&[kind][..], unique, owner.as_bytes(), queue.as_bytes()];
        for (place, byte) in id.iter_mut().zip(parts.iter().copied().flatten()) {
            *place = *byte;
        }
        let seal = blake3::keyed_hash(&self.seal, body(&id));
        for (place, byte) in id.iter_mut().skip(BODY).zip(seal.as_bytes()) {
            *place = *byte;
        }
        TaskId(id)
    }

    /// Whether a gateway of this fleet made it.
    pub(crate) fn verify(&self, id: &TaskId) -> bool {
        let seal = blake3::keyed_hash(&self.seal, body(&id.0));
        let (_, given) = id.0.split_at(BODY);
        seal.as_bytes().split_at(SEAL).0.ct_eq(given).into()
    }

    /// What the task's worker shows when it reports.
    pub(crate) fn token(&self, id: &TaskId) -> String {
        secret(&self.token, id)
    }

    pub(crate) fn is_token(&self, id: &TaskId, shown: &str) -> bool {
        self.token(id).as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// What somebody without an application shows to see their task.
    pub(crate) fn capability(&self, id: &TaskId) -> String {
        secret(&self.capability, id)
    }

    pub(crate) fn is_capability(&self, id: &TaskId, shown: &str) -> bool {
        self.capability(id).as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for TaskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskKeys(…)")
    }
}

fn body(id: &[u8; BODY + SEAL]) -> &[u8] {
    id.split_at(BODY).0
}

fn secret(key: &[u8; 32], id: &TaskId) -> String {
    let hash = blake3::keyed_hash(key, &id.0);
    URL_SAFE_NO_PAD.encode(hash.as_bytes().split_at(SECRET).0)
}

impl TaskId {
    pub(crate) const LENGTH: usize = BODY + SEAL;

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// When it was made; none for one that an `Idempotency-Key` led to.
    pub(crate) fn made_at(&self) -> Option<Timestamp> {
        if self.0.first() != Some(&FRESH) {
            return None;
        }
        let (seconds, nanos) = self.uuid_at(1).get_timestamp()?.to_unix();
        let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
        micros.checked_add(i64::from(nanos / 1000)).map(Timestamp::from_micros)
    }

    /// Nil for a caller without an application.
    pub(crate) fn owner(&self) -> Id<Application> {
        Id::new(self.uuid_at(17))
    }

    pub(crate) fn queue(&self) -> Id<Queue> {
        Id::new(self.uuid_at(33))
    }

    fn uuid_at(&self, at: usize) -> Uuid {
        let bytes = self.0.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
        Uuid::from_bytes(bytes.unwrap_or_default())
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ())?;
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::{Clock, SystemClock};

    use super::*;

    fn keys() -> TaskKeys {
        TaskKeys::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap())
    }

    fn id<T>() -> Id<T> {
        Id::new(new_id())
    }

    #[test]
    fn an_id_reads_back_and_tells_whose_it_is() {
        let (keys, owner, queue) = (keys(), id(), id());
        let task = keys.fresh(owner, queue);
        let read: TaskId = task.to_string().parse().unwrap();
        assert_eq!(read, task);
        assert!(keys.verify(&read));
        assert_eq!((read.owner(), read.queue()), (owner, queue));
        assert_ne!(keys.fresh(owner, queue), task);
        let age = SystemClock.now().millis_since(task.made_at().unwrap());
        assert!((0..60_000).contains(&age), "{age} ms");
        assert_eq!(keys.derived(owner, queue, "", "k").made_at(), None);
    }

    #[test]
    fn no_byte_of_an_id_can_be_altered() {
        let task = keys().fresh(id(), id());
        for at in 0..task.0.len() {
            let mut forged = task;
            forged.0[at] ^= 1;
            assert!(!keys().verify(&forged), "byte {at}");
        }
        let other = TaskKeys::of(&MasterKey::of("another text of more than 32 characters").unwrap());
        assert!(!other.verify(&task));
        for bad in ["", "x", "ä", &task.to_string()[1..], &format!("{task}A"), &format!("{task}=")] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_same_idempotency_key_leads_to_the_same_task_of_the_same_caller_and_queue_only() {
        let (keys, owner, queue) = (keys(), id(), id());
        let task = keys.derived(owner, queue, "", "k");
        assert_eq!(keys.derived(owner, queue, "", "k"), task);
        assert!(keys.verify(&task));
        for other in [
            keys.derived(id(), queue, "", "k"),
            keys.derived(owner, id(), "", "k"),
            keys.derived(owner, queue, "", "l"),
            keys.derived(owner, queue, "k", "k"),
        ] {
            assert_ne!(other, task);
        }
    }

    #[test]
    fn a_secret_of_one_task_opens_no_other_and_no_other_door() {
        let (keys, one, other) = (keys(), keys().fresh(id(), id()), keys().fresh(id(), id()));
        assert!(keys.is_token(&one, &keys.token(&one)) && keys.is_capability(&one, &keys.capability(&one)));
        assert!(!keys.is_token(&one, &keys.token(&other)) && !keys.is_token(&one, &keys.capability(&one)));
        assert!(!keys.is_token(&one, "") && !keys.is_capability(&one, &keys.token(&one)));
    }
}
