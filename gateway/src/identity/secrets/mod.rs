//! Secrets that the configuration names: read from the environment or the secrets directory, kept in memory, and the files
//! read again every second. A request only ever looks into the memory.
//!
//! What can't be read is as good as absent: whoever needs it refuses, and [`Secrets::unresolved`] tells the operator which and why.

mod read;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_config::model::SecretRef;
use gateway_config::snapshot::Snapshot;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

/// A file that was replaced counts within a second.
const REREAD: Duration = Duration::from_millis(800);

/// The content of a secret at one time. Whoever derives something from it can ask later whether it still stands.
pub(crate) struct SecretBytes {
    bytes: Box<[u8]>,
    replaced: AtomicBool,
}

impl SecretBytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into_boxed_slice(), replaced: AtomicBool::new(false) }
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether this is still what the reference leads to: false for ever once it was changed or taken away.
    pub(crate) fn is_current(&self) -> bool {
        !self.replaced.load(Ordering::Acquire)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(hidden)")
    }
}

/// What a reference led to when it was last read.
#[derive(Clone, Debug)]
enum Slot {
    /// Somebody asked for it, and it will be read next.
    Unread,
    Read(Arc<SecretBytes>),
    /// Why it could not be read.
    Failed(&'static str),
}

#[derive(Debug, Default)]
struct Slots {
    env: HashMap<String, Slot>,
    files: HashMap<String, Slot>,
}

impl Slots {
    fn get(&self, reference: &SecretRef) -> Option<&Slot> {
        match reference {
            SecretRef::Env(name) => self.env.get(name),
            SecretRef::File(name) => self.files.get(name),
        }
    }

    fn insert(&mut self, reference: &SecretRef, slot: Slot) -> Option<Slot> {
        match reference {
            SecretRef::Env(name) => self.env.insert(name.clone(), slot),
            SecretRef::File(name) => self.files.insert(name.clone(), slot),
        }
    }

    fn all(&self) -> impl Iterator<Item = (SecretRef, &Slot)> {
        let env = self.env.iter().map(|(name, slot)| (SecretRef::Env(name.clone()), slot));
        env.chain(self.files.iter().map(|(name, slot)| (SecretRef::File(name.clone()), slot)))
    }
}

#[derive(Debug)]
pub(crate) struct Secrets {
    directory: Option<PathBuf>,
    slots: RwLock<Slots>,
    wanted: Notify,
    changed: watch::Sender<()>,
}

impl Secrets {
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, slots: RwLock::default(), wanted: Notify::new(), changed: watch::Sender::new(()) }
    }

    /// Hears from now on of secrets that were replaced, taken away or found.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The secret as it stands in memory. None until a file that nobody named before was read in the background.
    pub(crate) fn resolve(&self, reference: &SecretRef) -> Option<Arc<SecretBytes>> {
        if let Some(slot) = self.slots.read().get(reference) {
            return match slot {
                Slot::Read(secret) => Some(secret.clone()),
                Slot::Unread | Slot::Failed(_) => None,
            };
        }
        if let SecretRef::File(_) = reference {
            // Reading a file may block, and this may be a proxy thread.
            self.slots.write().insert(reference, Slot::Unread);
            self.wanted.notify_one();
            return None;
        }
        self.read_again(reference);
        match self.slots.read().get(reference) {
            Some(Slot::Read(secret)) => Some(secret.clone()),
            _ => None,
        }
    }

    /// As [`Self::resolve`], but waits for a file that nobody named before.
    pub(crate) async fn resolve_or_read(self: &Arc<Self>, reference: &SecretRef) -> Option<Arc<SecretBytes>> {
        let is_known = !matches!(self.slots.read().get(reference), None | Some(Slot::Unread));
        if !is_known {
            let (this, reference) = (self.clone(), reference.clone());
            let _ = tokio::task::spawn_blocking(move || this.read_again(&reference)).await;
        }
        self.resolve(reference)
    }

    /// Makes `references` all that is in use: reads those that are new, forgets the others.
    pub(crate) async fn keep(self: &Arc<Self>, references: Vec<SecretRef>) {
        let this = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let known: Vec<SecretRef> = this.slots.read().all().map(|(reference, _)| reference).collect();
            for reference in references.iter().filter(|reference| !known.contains(reference)) {
                this.read_again(reference);
            }
            for reference in known.iter().filter(|reference| !references.contains(reference)) {
                this.forget(reference);
            }
        });
        // It can only fail by a panic, which has been reported, or when the process ends.
        let _ = kept.await;
    }

    /// Which references that are in use lead nowhere, and why; never what they hold.
    pub(crate) fn unresolved(&self) -> Vec<String> {
        let slots = self.slots.read();
        let mut list: Vec<String> = slots
            .all()
            .filter_map(|(reference, slot)| match slot {
                Slot::Failed(why) => Some(format!("{reference}: {why}")),
                Slot::Read(_) | Slot::Unread => None,
            })
            .collect();
        list.sort();
        list
    }

    /// Reads the files in use once more.
    fn reread_files(&self) {
        let names: Vec<String> = self.slots.read().files.keys().cloned().collect();
        for name in names {
            self.read_again(&SecretRef::File(name));
        }
    }

    fn read_again(&self, reference: &SecretRef) {
        let found = read::read(reference, self.directory.as_deref());
        let mut slots = self.slots.write();
        let before = slots.get(reference);
        if let (Some(Slot::Read(old)), Ok(new)) = (before, &found)
            && *old.bytes == **new
        {
            return;
        }
        let was_failed = matches!(before, Some(Slot::Failed(_)));
        let is_news = !was_failed || found.is_ok();
        let slot = match found {
            Ok(bytes) => {
                if was_failed {
                    tracing::info!(%reference, "the secret {reference} can be read again");
                }
                Slot::Read(Arc::new(SecretBytes::new(bytes)))
            }
            Err(why) => {
                if !was_failed {
                    tracing::warn!(%reference, why, "could not read the secret {reference}: {why}");
                }
                Slot::Failed(why)
            }
        };
        // Stored first: who sees the old one replaced must find the new one.
        let before = slots.insert(reference, slot);
        retire(before);
        drop(slots);
        if is_news {
            self.changed.send_replace(());
        }
    }

    fn forget(&self, reference: &SecretRef) {
        let mut slots = self.slots.write();
        retire(match reference {
            SecretRef::Env(name) => slots.env.remove(name),
            SecretRef::File(name) => slots.files.remove(name),
        });
        drop(slots);
        self.changed.send_replace(());
    }
}

fn retire(slot: Option<Slot>) {
    if let Some(Slot::Read(secret)) = slot {
        secret.replaced.store(true, Ordering::Release);
    }
}

/// Every secret that the configuration names.
pub(crate) fn named_by(snapshot: &Snapshot) -> Vec<SecretRef> {
    let of_issuers = snapshot.issuers().flat_map(|issuer| [&issuer.secret, &issuer.client_secret]);
    let of_certificates = snapshot.certificates().map(|certificate| &certificate.source.private_key);
    of_issuers.flatten().chain(of_certificates).cloned().collect()
}

/// Keeps the files that are in use fresh, for as long as the process runs.
pub(crate) async fn refresh_forever(secrets: Arc<Secrets>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(REREAD) => {}
            () = secrets.wanted.notified() => {}
        }
        let reading = secrets.clone();
        let _ = tokio::task::spawn_blocking(move || reading.reread_files()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(name: &str) -> SecretRef {
        SecretRef::File(name.to_owned())
    }

    fn exposed(secrets: &Secrets, reference: &SecretRef) -> Option<Vec<u8>> {
        secrets.resolve(reference).map(|secret| secret.expose().to_vec())
    }

    #[tokio::test]
    async fn a_kept_file_is_there_at_once_and_a_rotated_one_after_the_next_look() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("jwt"), "one\n").unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        secrets.keep(vec![file("jwt")]).await;
        let first = secrets.resolve(&file("jwt")).unwrap();
        assert_eq!(first.expose(), b"one");

        secrets.reread_files();
        assert!(first.is_current(), "nothing changed");
        assert!(Arc::ptr_eq(&first, &secrets.resolve(&file("jwt")).unwrap()));

        fs::write(directory.path().join("jwt"), "two").unwrap();
        secrets.reread_files();
        assert!(!first.is_current());
        assert_eq!(exposed(&secrets, &file("jwt")).unwrap(), b"two");
    }

    #[tokio::test]
    async fn a_file_that_is_taken_away_fails_closed_and_is_named_without_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jwt");
        fs::write(&path, "hunter2").unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        secrets.keep(vec![file("jwt")]).await;
        let secret = secrets.resolve(&file("jwt")).unwrap();
        assert!(secrets.unresolved().is_empty());
        assert!(!format!("{secrets:?} {secret:?}").contains("hunter2"));
        assert!(!format!("{secrets:?}").contains(&format!("{:?}", b"hunter2")));

        fs::remove_file(&path).unwrap();
        secrets.reread_files();
        assert!(!secret.is_current());
        assert!(secrets.resolve(&file("jwt")).is_none());
        assert_eq!(secrets.unresolved(), ["file:jwt: there is no such file in the secrets directory"]);

        fs::write(&path, "back").unwrap();
        secrets.reread_files();
        assert_eq!(exposed(&secrets, &file("jwt")).unwrap(), b"back");
        assert!(secrets.unresolved().is_empty());
    }

    #[tokio::test]
    async fn what_the_configuration_no_longer_names_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("old"), "x").unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        secrets.keep(vec![file("old"), file("missing")]).await;
        let old = secrets.resolve(&file("old")).unwrap();
        secrets.keep(vec![]).await;
        assert!(!old.is_current());
        assert!(secrets.unresolved().is_empty());
    }

    #[tokio::test]
    async fn who_can_wait_gets_a_file_that_nobody_named_before() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("new"), "x").unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        assert!(secrets.resolve(&file("new")).is_none());
        assert_eq!(secrets.resolve_or_read(&file("new")).await.unwrap().expose(), b"x");
        assert_eq!(exposed(&secrets, &file("new")).unwrap(), b"x");
        assert!(secrets.resolve_or_read(&file("missing")).await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_nobody_announced_is_read_in_the_background() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("late"), "x").unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        let refreshing = tokio::spawn(refresh_forever(secrets.clone()));
        assert!(secrets.resolve(&file("late")).is_none());
        while secrets.resolve(&file("late")).is_none() {
            tokio::task::yield_now().await;
        }
        refreshing.abort();
    }

    #[test]
    fn an_environment_variable_is_there_at_once_or_listed() {
        let secrets = Secrets::new(None);
        let missing = SecretRef::Env("GATEWAY_SECRET_THAT_NOBODY_SET".to_owned());
        assert!(secrets.resolve(&missing).is_none());
        assert_eq!(secrets.unresolved(), ["env:GATEWAY_SECRET_THAT_NOBODY_SET: the variable is not set"]);
        // The type refuses such names when it is read; this is the second door.
        assert!(secrets.resolve(&SecretRef::Env("PATH".to_owned())).is_none());
    }
}
