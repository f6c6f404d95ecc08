//! Sessions of admins and failed logins: what changes all the time about admins. Several admin APIs share it.

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{AdminSession, Id, Timestamp};

use super::Result;
use super::database::Database;
use super::session::{Cell, Purpose, Record, Session};
use super::table::Holds;

const ADD: &str = "INSERT INTO gateway_admin_session \
    (id, admin_id, epoch, created_at, renewed_at, expires_at, secret_hash) VALUES ($1, $2, $3, $4, $5, $6, $7)";
const EXPIRE: &str = "DELETE FROM gateway_admin_session WHERE expires_at <= $1";
/// Only the newest stay: a script that never logs out must not fill the table.
const CROWD_OUT: &str = "DELETE FROM gateway_admin_session WHERE admin_id = $1 AND id NOT IN \
    (SELECT id FROM gateway_admin_session WHERE admin_id = $1 ORDER BY renewed_at DESC, id DESC LIMIT 200)";
const FIND: &str = "SELECT id, admin_id, epoch, created_at, renewed_at, expires_at, secret_hash, previous_hash \
    FROM gateway_admin_session WHERE id = $1";
const RENEW: &str = "UPDATE gateway_admin_session SET previous_hash = secret_hash, secret_hash = $3, renewed_at = $4 \
    WHERE id = $1 AND secret_hash = $2 AND expires_at > $4";
const END: &str = "DELETE FROM gateway_admin_session WHERE id = $1";
const MOVE_EPOCH: &str = "UPDATE gateway_admin_session SET epoch = $2 WHERE id = $1";

const FAILED: &str = "INSERT INTO gateway_admin_login_failure (subject, failures, last_at) VALUES ($1, 1, $2) \
    ON CONFLICT (subject) DO UPDATE SET last_at = excluded.last_at, failures = CASE \
    WHEN gateway_admin_login_failure.last_at < $3 THEN 1 ELSE gateway_admin_login_failure.failures + 1 END";
const FAILURES: &str = "SELECT failures, last_at FROM gateway_admin_login_failure WHERE subject = $1 AND last_at >= $2";
const FORGIVE: &str = "DELETE FROM gateway_admin_login_failure WHERE subject = $1";
const FORGET: &str = "DELETE FROM gateway_admin_login_failure WHERE last_at < $1";
/// A flood from many addresses pushes out the oldest.
const OVERFLOW: &str = "DELETE FROM gateway_admin_login_failure WHERE last_at < \
    (SELECT last_at FROM gateway_admin_login_failure ORDER BY last_at DESC LIMIT 1 OFFSET 20000)";

const SHAPE: [Holds; 8] =
    [Holds::Id, Holds::Id, Holds::Integer, Holds::Time, Holds::Time, Holds::Time, Holds::Text, Holds::Text];
const FIELDS: [&str; 6] = ["id", "adminId", "epoch", "createdAt", "renewedAt", "expiresAt"];

/// What became of a session whose secret was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The next secret holds from now on.
    Done,
    /// Somebody else renewed it with the same secret a moment ago; nothing was done.
    Raced,
    /// The secret was used before: whoever shows it now may have stolen it. The session has ended.
    Reused,
    /// There is no such session any more.
    Gone,
}

/// How often a login failed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    pub last_at: Timestamp,
}

/// Logins that have not ended, and those that failed.
#[async_trait]
pub trait Logins {
    /// `secret_hash`: of the secret that renews it. Sessions that have expired are forgotten on the way.
    async fn begin_session(&self, session: &AdminSession, secret_hash: &str) -> Result<()>;

    async fn session(&self, id: Id<AdminSession>) -> Result<Option<AdminSession>>;

    /// The session, if this is the hash of its secret; or of the one before, until `grace` milliseconds after the renewal.
    async fn session_of_secret(
        &self,
        id: Id<AdminSession>,
        hash: &str,
        grace_millis: i64,
        now: Timestamp,
    ) -> Result<Option<AdminSession>>;

    /// Puts `next` in the secret's place. Of two who present the same secret, one gets [`Renewal::Done`]. A secret that was this
    /// session's once and is no more ends it, except the one before within `grace` milliseconds.
    async fn renew_session(
        &self,
        id: Id<AdminSession>,
        presented: &str,
        next: &str,
        grace_millis: i64,
        now: Timestamp,
    ) -> Result<Renewal>;

    /// `false`: there was none.
    async fn end_session(&self, id: Id<AdminSession>) -> Result<bool>;

    /// Takes the session over into the admin's new epoch.
    async fn keep_session(&self, id: Id<AdminSession>, epoch: i64) -> Result<()>;

    /// Notes a failed login of each subject; what lies before `since` is forgotten.
    async fn record_failures(&self, subjects: &[&str], since: Timestamp, now: Timestamp) -> Result<()>;

    /// Since then, in the order of the subjects.
    async fn failures(&self, subjects: &[&str], since: Timestamp) -> Result<Vec<Failures>>;

    async fn forgive_failures(&self, subjects: &[&str]) -> Result<()>;
}

/// A session's row.
struct Row {
    session: AdminSession,
    secret: String,
    previous: Option<String>,
}

#[async_trait]
impl Logins for Database {
    async fn begin_session(&self, new: &AdminSession, secret_hash: &str) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let admin = Cell::Id(Some(new.admin_id.uuid()));
        session.execute(EXPIRE, vec![Cell::Integer(Some(new.created_at.micros()))]).await?;
        let cells = vec![
            Cell::Id(Some(new.id.uuid())),
            admin.clone(),
            Cell::Integer(Some(new.epoch)),
            Cell::Integer(Some(new.created_at.micros())),
            Cell::Integer(Some(new.renewed_at.micros())),
            Cell::Integer(Some(new.expires_at.micros())),
            Cell::text(secret_hash),
        ];
        session.execute(ADD, cells).await?;
        session.execute(CROWD_OUT, vec![admin]).await?;
        session.commit(None).await
    }

    async fn session(&self, id: Id<AdminSession>) -> Result<Option<AdminSession>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let row = find(&mut *session, id).await?;
        session.commit(None).await?;
        Ok(row.map(|row| row.session))
    }

    async fn session_of_secret(
        &self,
        id: Id<AdminSession>,
        hash: &str,
        grace_millis: i64,
        now: Timestamp,
    ) -> Result<Option<AdminSession>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let row = find(&mut *session, id).await?;
        session.commit(None).await?;
        Ok(row.filter(|row| row.secret == hash || row.was(hash, grace_millis, now)).map(|row| row.session))
    }

    async fn renew_session(
        &self,
        id: Id<AdminSession>,
        presented: &str,
        next: &str,
        grace_millis: i64,
        now: Timestamp,
    ) -> Result<Renewal> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let cells =
            vec![Cell::Id(Some(id.uuid())), Cell::text(presented), Cell::text(next), Cell::Integer(Some(now.micros()))];
        let renewal = if session.execute(RENEW, cells).await? > 0 {
            Renewal::Done
        } else {
            match find(&mut *session, id).await? {
                Some(row) if row.session.expires_at <= now => Renewal::Gone,
                Some(row) if row.was(presented, grace_millis, now) => Renewal::Raced,
                Some(_) if session.execute(END, vec![Cell::Id(Some(id.uuid()))]).await? > 0 => Renewal::Reused,
                _ => Renewal::Gone,
            }
        };
        session.commit(None).await?;
        Ok(renewal)
    }

    async fn end_session(&self, id: Id<AdminSession>) -> Result<bool> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let ended = session.execute(END, vec![Cell::Id(Some(id.uuid()))]).await?;
        session.commit(None).await?;
        Ok(ended > 0)
    }

    async fn keep_session(&self, id: Id<AdminSession>, epoch: i64) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        session.execute(MOVE_EPOCH, vec![Cell::Id(Some(id.uuid())), Cell::Integer(Some(epoch))]).await?;
        session.commit(None).await
    }

    async fn record_failures(&self, subjects: &[&str], since: Timestamp, now: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let since = Cell::Integer(Some(since.micros()));
        session.execute(FORGET, vec![since.clone()]).await?;
        session.execute(OVERFLOW, Vec::new()).await?;
        // In one order for all, or two of them could wait for each other's rows.
        let mut ordered = subjects.to_vec();
        ordered.sort_unstable();
        for subject in ordered {
            let cells = vec![Cell::text(subject), Cell::Integer(Some(now.micros())), since.clone()];
            session.execute(FAILED, cells).await?;
        }
        session.commit(None).await
    }

    async fn failures(&self, subjects: &[&str], since: Timestamp) -> Result<Vec<Failures>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let mut found = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let cells = vec![Cell::text(*subject), Cell::Integer(Some(since.micros()))];
            let rows = session.fetch(FAILURES, cells, &[Holds::Integer, Holds::Time]).await?;
            found.push(rows.into_iter().next().and_then(failures).unwrap_or_default());
        }
        session.commit(None).await?;
        Ok(found)
    }

    async fn forgive_failures(&self, subjects: &[&str]) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let mut ordered = subjects.to_vec();
        ordered.sort_unstable();
        for subject in ordered {
            session.execute(FORGIVE, vec![Cell::text(subject)]).await?;
        }
        session.commit(None).await
    }
}

impl Row {
    /// It was the secret until a moment ago.
    fn was(&self, hash: &str, grace_millis: i64, now: Timestamp) -> bool {
        self.previous.as_deref() == Some(hash) && now.millis_since(self.session.renewed_at) < grace_millis
    }
}

async fn find(session: &mut dyn Session, id: Id<AdminSession>) -> Result<Option<Row>> {
    let rows = session.fetch(FIND, vec![Cell::Id(Some(id.uuid()))], &SHAPE).await?;
    let Some(mut row) = rows.into_iter().next() else { return Ok(None) };
    let mut hashes = row.split_off(FIELDS.len().min(row.len())).into_iter();
    let mut text = || hashes.next()?.ok()?.as_str().map(str::to_owned);
    let (secret, previous) = (text(), text());
    let known = read("gateway_admin_session", &FIELDS, row).zip(secret);
    Ok(known.map(|(session, secret)| Row { session, secret, previous }))
}

fn failures(row: Record) -> Option<Failures> {
    let mut fields = row.into_iter().filter_map(std::result::Result::ok);
    let count = fields.next()?.as_u64()?;
    let last_at = serde_json::from_value(fields.next()?).ok()?;
    Some(Failures { count: u32::try_from(count).unwrap_or(u32::MAX), last_at })
}

/// A row as what it stands for. One that can't be read is as good as none: whoever it is about is refused.
pub(super) fn read<T: DeserializeOwned>(table: &str, fields: &[&str], row: Record) -> Option<T> {
    let fields = fields.iter().zip(row).filter_map(|(name, value)| Some(((*name).to_owned(), value.ok()?)));
    serde_json::from_value(Value::Object(fields.collect()))
        .inspect_err(|error| tracing::warn!(%error, table, "a row can't be read"))
        .ok()
}
