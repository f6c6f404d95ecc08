//! Passwords: what they must be, and hashing them on threads of their own, a few at a time.

use std::fmt;
use std::sync::Arc;

use gateway_config::api_key::{Argon2Settings, hash, nobodys, verify};
use rand::RngExt;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Failure;

pub(crate) const SHORTEST: usize = 12;
pub(crate) const LONGEST_BYTES: usize = 1024;

/// Each hash takes a core for tens of milliseconds.
const AT_ONCE: usize = 2;
/// More who wait for their turn are sent away.
const WAITING: usize = 64;

/// Letters and digits that nobody takes for one another.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadPassword {
    #[error("has {0} characters and needs at least {SHORTEST}")]
    Short(usize),
    #[error("has {0} bytes and may have at most {LONGEST_BYTES}")]
    Long(usize),
}

#[derive(Clone)]
pub(crate) struct Passwords {
    settings: Argon2Settings,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// The hash of no password, verified where there is none: whoever tries emails must not learn from the time which exist.
    nobodys: Arc<str>,
}

/// The right to hash one password; others wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

pub(crate) fn check(password: &str) -> Result<(), BadPassword> {
    match password.chars().count() {
        characters if characters < SHORTEST => Err(BadPassword::Short(characters)),
        _ if password.len() > LONGEST_BYTES => Err(BadPassword::Long(password.len())),
        _ => Ok(()),
    }
}

/// A password of 123 bits that can be read out.
pub(crate) fn generate() -> String {
    let mut random = rand::rng();
    let mut letter = || ALPHABET.get(random.random_range(0..ALPHABET.len())).map_or('x', |letter| char::from(*letter));
    let groups: Vec<String> = (0..5).map(|_| (0..5).map(|_| letter()).collect()).collect();
    groups.join("-")
}

impl Passwords {
    pub(crate) fn new(settings: Argon2Settings) -> Self {
        let (turns, waiting) = (Arc::new(Semaphore::new(AT_ONCE)), Arc::new(Semaphore::new(WAITING)));
        Self { settings, turns, waiting, nobodys: nobodys(&settings).into() }
    }

    /// Waits for a turn. Nobody is kept waiting behind a crowd.
    pub(crate) async fn turn(&self) -> Result<Turn, Failure> {
        let _place = self.waiting.try_acquire().map_err(|_| Failure::overloaded())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map(|permit| Turn { _permit: permit }).map_err(|error| Failure::internal(error.to_string()))
    }

    /// `stored`: none where nobody is known. It takes as long as if there were one.
    pub(crate) async fn verify(
        &self,
        turn: Turn,
        password: &str,
        stored: Option<&str>,
    ) -> Result<(bool, Turn), Failure> {
        let is_known = stored.is_some() && password.len() <= LONGEST_BYTES;
        let stored = stored.unwrap_or(&self.nobodys).to_owned();
        let password: String = if password.len() <= LONGEST_BYTES { password.to_owned() } else { String::new() };
        // A hash that was spoilt by hand is one that no password has.
        let verified = move || (verify(password.as_bytes(), &stored).unwrap_or(false) && is_known, turn);
        tokio::task::spawn_blocking(verified).await.map_err(|error| Failure::internal(error.to_string()))
    }

    /// `field`: where the password stands in the request.
    pub(crate) async fn hash(&self, password: &str, field: &str) -> Result<String, Failure> {
        check(password).map_err(|bad| Failure::invalid_at(field, bad.to_string()))?;
        let turn = self.turn().await?;
        let (password, settings) = (password.to_owned(), self.settings);
        let hashed = move || {
            let hashed = hash(password.as_bytes(), &settings);
            drop(turn);
            hashed
        };
        let hashed = tokio::task::spawn_blocking(hashed).await.map_err(|error| Failure::internal(error.to_string()))?;
        hashed.map_err(|error| Failure::internal(error.to_string()))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Argon2Settings = Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 };

    #[test]
    fn a_password_has_twelve_characters_to_1024_bytes() {
        assert_eq!(check("ünder-twelve").map(drop), Ok(()));
        assert_eq!(check("elevenchars"), Err(BadPassword::Short(11)));
        assert_eq!(check(&"x".repeat(1024)), Ok(()));
        assert_eq!(check(&"ü".repeat(513)), Err(BadPassword::Long(1026)));
    }

    #[test]
    fn a_generated_password_is_a_good_one_and_each_is_another() {
        let made = generate();
        assert_eq!((made.len(), check(&made)), (29, Ok(())));
        assert_ne!(made, generate());
    }

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_good() {
        let passwords = Passwords::new(CHEAP);
        let hashed = passwords.hash("a good password", "password").await.unwrap();
        let verified = async |password: &str, stored| {
            passwords.verify(passwords.turn().await.unwrap(), password, stored).await.unwrap().0
        };
        assert!(verified("a good password", Some(hashed.as_str())).await);
        assert!(!verified("a bad password", Some(hashed.as_str())).await);
        assert!(!verified("a good password", None).await);
        assert!(!verified("a good password", Some("spoilt")).await);
    }

    #[tokio::test]
    async fn a_crowd_is_sent_away() {
        let passwords = Passwords::new(CHEAP);
        let _held = [passwords.turn().await.unwrap(), passwords.turn().await.unwrap()];
        let mut crowd: Vec<_> = (0..WAITING).map(|_| Box::pin(passwords.turn())).collect();
        for one in &mut crowd {
            assert!(futures::poll!(one).is_pending());
        }
        assert_eq!(passwords.turn().await.unwrap_err().status(), 503);
    }
}
