//! Admins and their tokens. Whatever is written here is written with its entry in the audit, in one transaction, and one after the
//! other: the lock on the audit's head is taken first. So two admins can't take each other's role at the same moment and leave
//! nobody.

use std::collections::HashMap;

use async_trait::async_trait;

use crate::model::{Admin, ChainKey, Id, NewAudit, PersonalToken, Role, Timestamp};

use super::audit::append;
use super::database::Database;
use super::read::pattern;
use super::session::{Cell, Purpose, Record, Session};
use super::table::Holds;
use super::{Page, Result};

const PAGE: &str = "SELECT id, email, name, role, is_active, epoch, revision, created_at, updated_at FROM gateway_admin \
    WHERE email > $1 AND (email LIKE $2 ESCAPE '\\' OR lower(name) LIKE $2 ESCAPE '\\') ORDER BY email LIMIT $3";
const BY_ID: &str = "SELECT id, email, name, role, is_active, epoch, revision, created_at, updated_at \
    FROM gateway_admin WHERE id = $1";
const BY_EMAIL: &str = "SELECT id, email, name, role, is_active, epoch, revision, created_at, updated_at \
    FROM gateway_admin WHERE email = $1";
const PASSWORD: &str = "SELECT password_hash FROM gateway_admin WHERE id = $1";
const IS_ANY: &str = "SELECT id FROM gateway_admin LIMIT 1";
const IS_EMAIL_TAKEN: &str = "SELECT id FROM gateway_admin WHERE email = $1";
/// Who would still manage admins without the one of this id.
const OTHER_ADMIN: &str = "SELECT id FROM gateway_admin WHERE role = 'admin' AND is_active AND id <> $1 LIMIT 1";
const ADD: &str = "INSERT INTO gateway_admin \
    (id, email, name, role, is_active, epoch, revision, created_at, updated_at, password_hash) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const REPLACE: &str = "UPDATE gateway_admin SET name = $3, role = $4, is_active = $5, epoch = $6, revision = $7, \
    updated_at = $8, password_hash = COALESCE($9, password_hash) WHERE id = $1 AND revision = $2";
const REMOVE: &str = "DELETE FROM gateway_admin WHERE id = $1 AND revision = $2";

const TOKENS: &str = "SELECT id, admin_id, name, role, created_at, expires_at, revoked_at FROM gateway_admin_token \
    WHERE admin_id = $1 ORDER BY id";
const KNOWN: &str = "SELECT token.id, token.admin_id, token.name, token.role, token.created_at, token.expires_at, \
    token.revoked_at, admin.id, admin.email, admin.name, admin.role, admin.is_active, admin.epoch, admin.revision, \
    admin.created_at, admin.updated_at FROM gateway_admin_token AS token JOIN gateway_admin AS admin \
    ON admin.id = token.admin_id WHERE token.token_hash = $1";
const ADD_TOKEN: &str = "INSERT INTO gateway_admin_token \
    (id, admin_id, name, role, created_at, expires_at, revoked_at, token_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const REVOKE: &str = "UPDATE gateway_admin_token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
const USE: &str = "INSERT INTO gateway_admin_token_usage (token_id, last_used_at) VALUES ($1, $2) ON CONFLICT (token_id) \
    DO UPDATE SET last_used_at = excluded.last_used_at WHERE gateway_admin_token_usage.last_used_at < excluded.last_used_at";
const USED: &str = "SELECT last_used_at FROM gateway_admin_token_usage WHERE token_id = $1";

const ADMIN: [Holds; 9] = [
    Holds::Id,
    Holds::Text,
    Holds::Text,
    Holds::Text,
    Holds::Boolean,
    Holds::Integer,
    Holds::Integer,
    Holds::Time,
    Holds::Time,
];
const ADMIN_FIELDS: [&str; 9] =
    ["id", "email", "name", "role", "isActive", "epoch", "revision", "createdAt", "updatedAt"];
const TOKEN: [Holds; 7] = [Holds::Id, Holds::Id, Holds::Text, Holds::Text, Holds::Time, Holds::Time, Holds::Time];
const TOKEN_FIELDS: [&str; 7] = ["id", "adminId", "name", "role", "createdAt", "expiresAt", "revokedAt"];

/// What became of a write to admins. Only after `Done` was anything written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminWritten {
    Done,
    /// Somebody wrote in between, or there is none of this id.
    Stale,
    EmailTaken,
    /// There are admins already.
    NotFirst,
    /// Nobody would be left who is active and may manage admins.
    LastAdmin,
}

/// A token and whom it stands for.
#[derive(Clone, Debug)]
pub struct KnownToken {
    pub token: PersonalToken,
    pub admin: Admin,
}

/// Who may use the admin API.
#[async_trait]
pub trait Admins {
    /// By email; the search looks at names, too.
    async fn admins(&self, page: &Page) -> Result<Vec<Admin>>;

    async fn admin(&self, id: Id<Admin>) -> Result<Option<Admin>>;

    /// `email`: in lower case.
    async fn admin_of_email(&self, email: &str) -> Result<Option<Admin>>;

    async fn has_admins(&self) -> Result<bool>;

    /// The hash of the password.
    async fn password_hash(&self, id: Id<Admin>) -> Result<Option<String>>;

    /// `is_first`: only if there is none yet.
    async fn add_admin(
        &self,
        admin: &Admin,
        password_hash: &str,
        is_first: bool,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten>;

    /// Writes `after` in place of `before`, if that still stands; without a hash the password stays.
    async fn replace_admin(
        &self,
        before: &Admin,
        after: &Admin,
        password_hash: Option<&str>,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten>;

    /// Their tokens go with them.
    async fn remove_admin(&self, admin: &Admin, deed: &NewAudit, chain: &ChainKey) -> Result<AdminWritten>;

    /// All tokens of an admin, the oldest first.
    async fn tokens(&self, admin: Id<Admin>) -> Result<Vec<PersonalToken>>;

    async fn token_of_hash(&self, hash: &str) -> Result<Option<KnownToken>>;

    /// `Stale`: the admin is gone.
    async fn add_token(
        &self,
        token: &PersonalToken,
        hash: &str,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten>;

    /// `Stale`: it was revoked already.
    async fn revoke_token(
        &self,
        id: Id<PersonalToken>,
        now: Timestamp,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten>;

    /// Notes that a token was used. A time before the one that is known changes nothing.
    async fn record_token_use(&self, id: Id<PersonalToken>, now: Timestamp) -> Result<()>;

    /// When these tokens were last used, for those that ever were.
    async fn token_uses(&self, ids: &[Id<PersonalToken>]) -> Result<HashMap<Id<PersonalToken>, Timestamp>>;
}

#[async_trait]
impl Admins for Database {
    async fn admins(&self, page: &Page) -> Result<Vec<Admin>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let cells = vec![
            Cell::text(page.after.as_deref().unwrap_or("")),
            Cell::text(pattern(page.search.as_deref().unwrap_or(""))),
            Cell::Integer(Some(i64::from(page.limit))),
        ];
        let rows = session.fetch(PAGE, cells, &ADMIN).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().filter_map(admin).collect())
    }

    async fn admin(&self, id: Id<Admin>) -> Result<Option<Admin>> {
        self.one_admin(BY_ID, Cell::Id(Some(id.uuid()))).await
    }

    async fn admin_of_email(&self, email: &str) -> Result<Option<Admin>> {
        self.one_admin(BY_EMAIL, Cell::text(email)).await
    }

    async fn has_admins(&self) -> Result<bool> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let is_any = exists(&mut *session, IS_ANY, Vec::new()).await?;
        session.commit(None).await?;
        Ok(is_any)
    }

    async fn password_hash(&self, id: Id<Admin>) -> Result<Option<String>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let rows = session.fetch(PASSWORD, vec![Cell::Id(Some(id.uuid()))], &[Holds::Text]).await?;
        session.commit(None).await?;
        let hash = rows.into_iter().flatten().next().and_then(std::result::Result::ok);
        Ok(hash.and_then(|hash| hash.as_str().map(str::to_owned)))
    }

    async fn add_admin(
        &self,
        admin: &Admin,
        password_hash: &str,
        is_first: bool,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten> {
        let (mut session, _turn) = self.writing_admins().await?;
        if is_first && exists(&mut *session, IS_ANY, Vec::new()).await? {
            return refused(session, AdminWritten::NotFirst).await;
        }
        if exists(&mut *session, IS_EMAIL_TAKEN, vec![Cell::text(&admin.email)]).await? {
            return refused(session, AdminWritten::EmailTaken).await;
        }
        let cells = vec![
            Cell::Id(Some(admin.id.uuid())),
            Cell::text(&admin.email),
            Cell::text(&admin.name),
            Cell::text(admin.role.word()),
            Cell::Boolean(Some(admin.is_active)),
            Cell::Integer(Some(admin.epoch)),
            Cell::Integer(Some(admin.revision)),
            Cell::Integer(Some(admin.created_at.micros())),
            Cell::Integer(Some(admin.updated_at.micros())),
            Cell::text(password_hash),
        ];
        session.execute(ADD, cells).await?;
        self.done(session, deed, chain).await
    }

    async fn replace_admin(
        &self,
        before: &Admin,
        after: &Admin,
        password_hash: Option<&str>,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten> {
        let (mut session, _turn) = self.writing_admins().await?;
        let stays = after.is_active && after.role == Role::Admin;
        if manages(before) && !stays && !others_manage(&mut *session, before).await? {
            return refused(session, AdminWritten::LastAdmin).await;
        }
        let cells = vec![
            Cell::Id(Some(before.id.uuid())),
            Cell::Integer(Some(before.revision)),
            Cell::text(&after.name),
            Cell::text(after.role.word()),
            Cell::Boolean(Some(after.is_active)),
            Cell::Integer(Some(after.epoch)),
            Cell::Integer(Some(after.revision)),
            Cell::Integer(Some(after.updated_at.micros())),
            Cell::Text(password_hash.map(str::to_owned)),
        ];
        if session.execute(REPLACE, cells).await? == 0 {
            return refused(session, AdminWritten::Stale).await;
        }
        self.done(session, deed, chain).await
    }

    async fn remove_admin(&self, admin: &Admin, deed: &NewAudit, chain: &ChainKey) -> Result<AdminWritten> {
        let (mut session, _turn) = self.writing_admins().await?;
        if manages(admin) && !others_manage(&mut *session, admin).await? {
            return refused(session, AdminWritten::LastAdmin).await;
        }
        let cells = vec![Cell::Id(Some(admin.id.uuid())), Cell::Integer(Some(admin.revision))];
        if session.execute(REMOVE, cells).await? == 0 {
            return refused(session, AdminWritten::Stale).await;
        }
        self.done(session, deed, chain).await
    }

    async fn tokens(&self, admin: Id<Admin>) -> Result<Vec<PersonalToken>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let rows = session.fetch(TOKENS, vec![Cell::Id(Some(admin.uuid()))], &TOKEN).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().filter_map(token).collect())
    }

    async fn token_of_hash(&self, hash: &str) -> Result<Option<KnownToken>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let shape: Vec<Holds> = TOKEN.into_iter().chain(ADMIN).collect();
        let rows = session.fetch(KNOWN, vec![Cell::text(hash)], &shape).await?;
        session.commit(None).await?;
        let Some(mut of_token) = rows.into_iter().next() else { return Ok(None) };
        let of_admin = of_token.split_off(TOKEN.len().min(of_token.len()));
        Ok(token(of_token).zip(admin(of_admin)).map(|(token, admin)| KnownToken { token, admin }))
    }

    async fn add_token(
        &self,
        token: &PersonalToken,
        hash: &str,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten> {
        let (mut session, _turn) = self.writing_admins().await?;
        let owner = Cell::Id(Some(token.admin_id.uuid()));
        if session.fetch(BY_ID, vec![owner.clone()], &ADMIN).await?.is_empty() {
            return refused(session, AdminWritten::Stale).await;
        }
        let cells = vec![
            Cell::Id(Some(token.id.uuid())),
            owner,
            Cell::text(&token.name),
            Cell::text(token.role.word()),
            Cell::Integer(Some(token.created_at.micros())),
            Cell::Integer(token.expires_at.map(Timestamp::micros)),
            Cell::Integer(token.revoked_at.map(Timestamp::micros)),
            Cell::text(hash),
        ];
        session.execute(ADD_TOKEN, cells).await?;
        self.done(session, deed, chain).await
    }

    async fn revoke_token(
        &self,
        id: Id<PersonalToken>,
        now: Timestamp,
        deed: &NewAudit,
        chain: &ChainKey,
    ) -> Result<AdminWritten> {
        let (mut session, _turn) = self.writing_admins().await?;
        let cells = vec![Cell::Id(Some(id.uuid())), Cell::Integer(Some(now.micros()))];
        if session.execute(REVOKE, cells).await? == 0 {
            return refused(session, AdminWritten::Stale).await;
        }
        self.done(session, deed, chain).await
    }

    async fn record_token_use(&self, id: Id<PersonalToken>, now: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        session.execute(USE, vec![Cell::Id(Some(id.uuid())), Cell::Integer(Some(now.micros()))]).await?;
        session.commit(None).await
    }

    async fn token_uses(&self, ids: &[Id<PersonalToken>]) -> Result<HashMap<Id<PersonalToken>, Timestamp>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let mut uses = HashMap::new();
        for id in ids {
            let rows = session.fetch(USED, vec![Cell::Id(Some(id.uuid()))], &[Holds::Time]).await?;
            let moment = rows.into_iter().flatten().next().and_then(std::result::Result::ok);
            if let Some(moment) = moment.and_then(|moment| serde_json::from_value(moment).ok()) {
                uses.insert(*id, moment);
            }
        }
        session.commit(None).await?;
        Ok(uses)
    }
}

impl Database {
    async fn one_admin(&self, sql: &'static str, cell: Cell) -> Result<Option<Admin>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let rows = session.fetch(sql, vec![cell], &ADMIN).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().next().and_then(admin))
    }

    /// A transaction before which nobody else writes to admins.
    async fn writing_admins(&self) -> Result<(Box<dyn Session>, tokio::sync::OwnedMutexGuard<()>)> {
        let (mut session, turn) = self.writing().await?;
        session.fetch(self.backend.lock_audit(), Vec::new(), &[]).await?;
        Ok((session, turn))
    }

    async fn done(&self, mut session: Box<dyn Session>, deed: &NewAudit, chain: &ChainKey) -> Result<AdminWritten> {
        append(&mut *session, self.backend.lock_audit(), deed, chain).await?;
        session.commit(None).await?;
        Ok(AdminWritten::Done)
    }
}

/// Ends a transaction that wrote nothing; merely dropped, its connection would be closed.
async fn refused(session: Box<dyn Session>, why: AdminWritten) -> Result<AdminWritten> {
    session.commit(None).await?;
    Ok(why)
}

fn manages(admin: &Admin) -> bool {
    admin.is_active && admin.role == Role::Admin
}

async fn others_manage(session: &mut dyn Session, admin: &Admin) -> Result<bool> {
    exists(session, OTHER_ADMIN, vec![Cell::Id(Some(admin.id.uuid()))]).await
}

async fn exists(session: &mut dyn Session, sql: &'static str, cells: Vec<Cell>) -> Result<bool> {
    Ok(!session.fetch(sql, cells, &[]).await?.is_empty())
}

fn admin(row: Record) -> Option<Admin> {
    super::login::read("gateway_admin", &ADMIN_FIELDS, row)
}

fn token(row: Record) -> Option<PersonalToken> {
    super::login::read("gateway_admin_token", &TOKEN_FIELDS, row)
}
