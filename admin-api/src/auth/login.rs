//! Proving who one is by a password, with a back-off for those who guess.

use gateway_config::model::{Action, Admin, AdminSession, AuditChange, Id, Timestamp};

use super::backoff::{self, FREE_OF_ADDRESS, FREE_OF_EMAIL};
use super::origin::Origin;
use super::secret::Mark;
use crate::error::Failure;
use crate::state::AppState;

const LONGEST_EMAIL: usize = 254;

/// A session that has just begun, and the secret that renews it.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) session: AdminSession,
    pub(crate) secret: String,
}

/// As emails are kept; `None` for what is no email.
pub(crate) fn email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let is_plain = !email.chars().any(|letter| letter.is_control() || letter.is_whitespace());
    let (name, host) = email.split_once('@')?;
    (is_plain && !name.is_empty() && !host.is_empty() && !host.contains('@') && email.len() <= LONGEST_EMAIL)
        .then_some(email)
}

/// The active admin of this email and password, or nobody. Nothing tells an unknown email from a wrong password, not even the time
/// that it takes.
pub(crate) async fn prove(
    state: &AppState,
    origin: &Origin,
    given: &str,
    password: &str,
) -> Result<Option<Admin>, Failure> {
    let email = email(given);
    let subjects = subjects(state, origin, email.as_deref());
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    refuse_guessers(state, &subjects).await?;
    // Looked at again in turn, or a thousand guesses at once would all be free.
    let turn = state.passwords.turn().await?;
    refuse_guessers(state, &subjects).await?;
    let found = async {
        let admin = state.store.admin_of_email(email.as_deref().unwrap_or("")).await?;
        let id = admin.as_ref().map(|admin| admin.id).unwrap_or_default();
        Ok::<_, Failure>((admin, state.store.password_hash(id).await?))
    };
    let (admin, hash) = state.ask(found).await?;
    let (is_right, turn) = state.passwords.verify(turn, password, hash.as_deref()).await?;
    match admin.filter(|admin| is_right && admin.is_active) {
        Some(admin) => {
            drop(turn);
            state.ask(state.store.forgive_failures(&subjects)).await?;
            Ok(Some(admin))
        }
        None => {
            let now = state.clock.now();
            state.ask(state.store.record_failures(&subjects, backoff::since(now), now)).await?;
            drop(turn);
            tell_failure(state, origin, email.as_deref()).await?;
            Ok(None)
        }
    }
}

/// Begins a session of somebody who has proved who they are.
pub(crate) async fn begin(state: &AppState, origin: &Origin, admin: &Admin, mark: Mark) -> Result<Begun, Failure> {
    let deed = state.deed(&origin.actor(&admin.email), Action::AuthLogin, "log in".to_owned(), Vec::new());
    let now = state.clock.now();
    let session = AdminSession {
        id: Id::new(gateway_config::clock::new_id()),
        admin_id: admin.id,
        epoch: admin.epoch,
        created_at: now,
        renewed_at: now,
        expires_at: Timestamp::from_micros(now.micros().saturating_add(state.sessions.whole_micros())),
    };
    let secret = state.secrets.renewing(mark, session.id);
    let begun = async {
        // No session without its entry.
        state.store.record(&deed, &state.chain).await?;
        state.store.begin_session(&session, &state.secrets.hash(&secret)).await
    };
    state.ask(begun).await?;
    Ok(Begun { session, secret })
}

/// What failures are counted of.
fn subjects(state: &AppState, origin: &Origin, email: Option<&str>) -> [String; 2] {
    let address = origin.address.map(|address| match address {
        // Whoever has one address of such a network has all of them.
        std::net::IpAddr::V6(six) => format!("{:032x}", six.to_bits() >> 64),
        std::net::IpAddr::V4(four) => four.to_string(),
    });
    let hash = |kind: &str, text: &str| state.secrets.hash(&format!("{kind} {text}"));
    [hash("email", email.unwrap_or("")), hash("address", address.as_deref().unwrap_or(""))]
}

async fn refuse_guessers(state: &AppState, subjects: &[&str]) -> Result<(), Failure> {
    let now = state.clock.now();
    let failures = state.ask(state.store.failures(subjects, backoff::since(now))).await?;
    let free = [FREE_OF_EMAIL, FREE_OF_ADDRESS];
    let waits = failures.into_iter().zip(free).filter_map(|(failures, free)| backoff::wait(failures, free, now));
    waits.max().map_or(Ok(()), |wait| Err(Failure::too_many_attempts(wait)))
}

async fn tell_failure(state: &AppState, origin: &Origin, email: Option<&str>) -> Result<(), Failure> {
    let summary = format!("a login as {} failed", email.unwrap_or("nobody"));
    let changes = email.map(about).into_iter().collect();
    let deed = state.deed(&origin.actor("anonymous"), Action::AuthLoginFailed, summary, changes);
    state.ask(state.store.record(&deed, &state.chain)).await.map(drop)
}

/// Says in the audit whom it is about, where nothing of them changed.
pub(crate) fn about(email: &str) -> AuditChange {
    AuditChange { kind: "admin".to_owned(), name: email.to_owned(), before: None, after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_kept_in_lower_case_and_what_is_none_is_none() {
        assert_eq!(email(" Ada@Example.TEST ").as_deref(), Some("ada@example.test"));
        assert_eq!(email("admin@gatehouse.local").as_deref(), Some("admin@gatehouse.local"));
        for bad in ["", "ada", "@a", "a@", "a@b@c", "a b@c", "a\0@b", "a@b\n", &format!("{}@b", "a".repeat(253))] {
            assert_eq!(email(bad), if bad == "a@b\n" { Some("a@b".to_owned()) } else { None }, "{bad:?}");
        }
    }
}
