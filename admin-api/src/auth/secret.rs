//! The texts by which callers are known: a mark, a body in hexadecimal digits, and 32 digits of authentication code. The code can be
//! made only by whoever has the master key, so that a text that was forged or damaged costs no question to the database.

use std::fmt;

use gateway_config::master_key::MasterKey;
use gateway_config::model::{AdminSession, Id, Timestamp};
use subtle::ConstantTimeEq;
use uuid::Uuid;

const ID_DIGITS: usize = 32;
const TIME_DIGITS: usize = 16;
const CODE_DIGITS: usize = 32;

/// What a text is for; none can be used for another's purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Stands for a session for some minutes, in requests.
    Access,
    /// Renews a session, once.
    Refresh,
    /// Does both, in a browser's cookie.
    Cookie,
    /// A personal token.
    Token,
}

/// The keys under which texts are made and kept.
#[derive(Clone)]
pub(crate) struct Secrets {
    code: [u8; 32],
    kept: [u8; 32],
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Access => "gaa_",
            Self::Refresh => "gar_",
            Self::Cookie => "gac_",
            Self::Token => "gat_",
        }
    }
}

impl Secrets {
    pub(crate) fn of(master: &MasterKey) -> Self {
        Self { code: master.derive("texts of admins"), kept: master.derive("hashes of admins' secrets") }
    }

    /// What is kept of a text that stands for somebody.
    pub(crate) fn hash(&self, text: &str) -> String {
        blake3::keyed_hash(&self.kept, text.as_bytes()).to_hex().to_string()
    }

    pub(crate) fn access(&self, session: Id<AdminSession>, until: Timestamp) -> String {
        self.text(Mark::Access, &format!("{}{:016x}", session.uuid().simple(), until.micros()))
    }

    /// Whether it is over is still to be seen.
    pub(crate) fn open_access(&self, text: &str) -> Option<(Id<AdminSession>, Timestamp)> {
        let (id, until) = self.open(Mark::Access, text)?.split_at_checked(ID_DIGITS)?;
        let until = i64::from_str_radix(until, 16).ok().filter(|_| until.len() == TIME_DIGITS)?;
        Some((session_id(id)?, Timestamp::from_micros(until)))
    }

    /// A new secret of 256 bits that renews the session.
    pub(crate) fn renewing(&self, mark: Mark, session: Id<AdminSession>) -> String {
        self.text(mark, &format!("{}{}", session.uuid().simple(), random()))
    }

    /// The session that it renews, if it is the newest.
    pub(crate) fn open_renewing(&self, mark: Mark, text: &str) -> Option<Id<AdminSession>> {
        let (id, _) = self.open(mark, text)?.split_at_checked(ID_DIGITS)?;
        session_id(id)
    }

    /// A new personal token of 256 bits.
    pub(crate) fn token(&self) -> String {
        self.text(Mark::Token, &random())
    }

    pub(crate) fn is_token(&self, text: &str) -> bool {
        self.open(Mark::Token, text).is_some()
    }

    /// What a page has to repeat in a header: whoever only makes a browser send its cookie does not know it.
    pub(crate) fn csrf(&self, session: Id<AdminSession>) -> String {
        self.code_of(&format!("csrf {}", session.uuid().simple()))
    }

    pub(crate) fn is_csrf(&self, session: Id<AdminSession>, presented: &[u8]) -> bool {
        self.csrf(session).as_bytes().ct_eq(presented).into()
    }

    fn text(&self, mark: Mark, body: &str) -> String {
        let text = format!("{}{body}", mark.word());
        let code = self.code_of(&text);
        text + &code
    }

    fn open<'t>(&self, mark: Mark, text: &'t str) -> Option<&'t str> {
        let (text, code) = text.split_at_checked(text.len().checked_sub(CODE_DIGITS)?)?;
        let body = text.strip_prefix(mark.word())?;
        let is_right: bool = self.code_of(text).as_bytes().ct_eq(code.as_bytes()).into();
        is_right.then_some(body)
    }

    fn code_of(&self, text: &str) -> String {
        let mut code = blake3::keyed_hash(&self.code, text.as_bytes()).to_hex().to_string();
        code.truncate(CODE_DIGITS);
        code
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

fn random() -> String {
    blake3::Hash::from_bytes(rand::random()).to_hex().to_string()
}

fn session_id(digits: &str) -> Option<Id<AdminSession>> {
    Uuid::try_parse(digits).ok().map(Id::new)
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::new_id;

    use super::*;

    fn secrets(text: &str) -> Secrets {
        Secrets::of(&MasterKey::of(&text.repeat(32)).unwrap())
    }

    #[test]
    fn a_text_opens_whole_under_its_own_mark_and_master_key_only() {
        let (ours, theirs) = (secrets("a"), secrets("b"));
        let (id, until) = (Id::new(new_id()), Timestamp::from_micros(1_795_000_000_123_456));
        let access = ours.access(id, until);
        assert_eq!(ours.open_access(&access), Some((id, until)));
        assert_eq!(theirs.open_access(&access), None);
        let refresh = ours.renewing(Mark::Refresh, id);
        assert_eq!(ours.open_renewing(Mark::Refresh, &refresh), Some(id));
        assert_eq!(ours.open_renewing(Mark::Cookie, &refresh), None);
        assert_eq!(ours.open_renewing(Mark::Cookie, &refresh.replace("gar_", "gac_")), None);
        assert_ne!(ours.renewing(Mark::Refresh, id), refresh);
        let token = ours.token();
        assert!(ours.is_token(&token) && !theirs.is_token(&token) && !ours.is_token(&access));
        assert_ne!(ours.hash(&token), theirs.hash(&token));
        for at in 0..access.len() {
            let mut altered = access.clone().into_bytes();
            altered[at] ^= 1;
            assert_eq!(ours.open_access(&String::from_utf8(altered).unwrap()), None, "letter {at}");
            assert_eq!(ours.open_access(&access[..at]), None, "cut at {at}");
        }
        assert_eq!(ours.open_access(&format!("{access}0")), None);
    }

    #[test]
    fn no_text_makes_it_panic() {
        let ours = secrets("a");
        for text in ["", "gaa_", "ü", &"ü".repeat(40), &"gat_".repeat(30), "\0"] {
            assert!(ours.open_access(text).is_none() && !ours.is_token(text), "{text}");
        }
        assert_eq!(format!("{ours:?}"), "Secrets(…)");
    }

    #[test]
    fn a_csrf_token_is_bound_to_its_session() {
        let ours = secrets("a");
        let (mine, other) = (Id::new(new_id()), Id::new(new_id()));
        assert!(ours.is_csrf(mine, ours.csrf(mine).as_bytes()));
        assert!(!ours.is_csrf(other, ours.csrf(mine).as_bytes()) && !ours.is_csrf(mine, b""));
    }
}
