//! The first admin, made when there is none yet; and a new password for those who can't get in any more.

use std::io::{IsTerminal, Read, Write};

use anyhow::{Context, Result, anyhow, bail};
use gateway_config::clock::{Clock, SystemClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Action, Actor, Admin, AuditChange, ChainKey, Id, NewAudit, Role};
use gateway_config::store::{self, AdminWritten, Options};
use thiserror::Error;

use crate::auth::login::email;
use crate::auth::password::{self, BadPassword, Passwords};
use crate::error::Failure;
use crate::settings::PasswordSettings;
use crate::state::AppState;

const EMAIL_VARIABLE: &str = "ADMIN_EMAIL";
const PASSWORD_VARIABLE: &str = "ADMIN_PASSWORD";
const USUAL_EMAIL: &str = "admin@gatehouse.local";

/// Who it will be, if there is none.
pub(crate) struct FirstAdmin {
    email: String,
    /// None: one is generated and printed.
    password: Option<String>,
}

#[derive(Debug, Error)]
pub(crate) enum BadFirstAdmin {
    #[error("{EMAIL_VARIABLE} is no email")]
    Email,
    #[error("{PASSWORD_VARIABLE} {0}")]
    Password(#[from] BadPassword),
    #[error("{0} is not UTF-8")]
    Unreadable(&'static str),
}

impl FirstAdmin {
    /// As the environment says; an empty variable is none.
    pub(crate) fn from_environment() -> Result<Self, BadFirstAdmin> {
        let (given, password) = (variable(EMAIL_VARIABLE)?, variable(PASSWORD_VARIABLE)?);
        password.as_deref().map_or(Ok(()), password::check)?;
        let email = email(given.as_deref().unwrap_or(USUAL_EMAIL)).ok_or(BadFirstAdmin::Email)?;
        Ok(Self { email, password })
    }

    /// Makes the admin unless there is one. Of several processes that start at once one makes it, and only that one prints.
    pub(crate) async fn make(&self, state: &AppState) -> Result<()> {
        if state.store.has_admins().await? {
            return Ok(());
        }
        let password = self.password.clone().unwrap_or_else(password::generate);
        let hash = hashed(&state.passwords, &password).await?;
        let now = state.clock.now();
        let admin = Admin {
            id: Id::new(new_id()),
            email: self.email.clone(),
            name: String::new(),
            role: Role::Admin,
            is_active: true,
            epoch: 0,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let changes = vec![changed(&admin)];
        let deed =
            state.deed(&here("first start"), Action::AdminCreate, format!("create admin \"{}\"", self.email), changes);
        let written = state.store.add_admin(&admin, &hash, true, &deed, &state.chain).await?;
        if written == AdminWritten::Done {
            tracing::info!(email = self.email, "the first admin was made");
            if self.password.is_none() {
                // On the terminal alone: a log is kept and read by many.
                say(&format!("first admin:  {}\npassword:     {password}    (shown only now)", self.email));
            }
        }
        Ok(())
    }
}

/// `admin-api password EMAIL`
pub(crate) async fn set_password(settings: &PasswordSettings) -> Result<()> {
    let database_url = &settings.common.database_url;
    // Nothing is made here: an admin is there only where an admin API has been.
    let master = MasterKey::find(database_url)?.context("there is no master key: it stands beside the database")?;
    let store = store::open_with(database_url, Options { may_create: false, ..Options::default() }).await?;
    let chain = ChainKey::of(&master);
    let address = email(&settings.email).with_context(|| format!("\"{}\" is no email", settings.email))?;
    let admin = store.admin_of_email(&address).await?.with_context(|| format!("there is no admin \"{address}\""))?;
    let given = given()?;
    let password = given.clone().unwrap_or_else(password::generate);
    let hash = hashed(&Passwords::new(settings.argon2), &password).await?;
    let now = SystemClock.now();
    let after = Admin { epoch: admin.epoch + 1, revision: admin.revision + 1, updated_at: now, ..admin.clone() };
    let deed = NewAudit {
        at: now,
        actor: here("admin-api password"),
        action: Action::AuthPassword,
        summary: format!("change the password of admin \"{address}\""),
        generation: None,
        changes: vec![AuditChange { before: Some(shown(&admin)), ..changed(&after) }],
    };
    match store.replace_admin(&admin, &after, Some(&hash), &deed, &chain).await? {
        AdminWritten::Done => {}
        _ => bail!("\"{address}\" was changed at the same moment; try again"),
    }
    // Whoever guessed at it made its owner wait.
    let subject = crate::auth::Secrets::of(&master).hash(&format!("email {address}"));
    store.forgive_failures(&[&subject]).await?;
    let is_generated = given.is_none();
    say(&if is_generated {
        format!("new password of {address}: {password}")
    } else {
        format!("{address} has a new password")
    });
    if !admin.is_active {
        eprintln!("admin-api: {address} is not active, and can't log in before another admin changes that");
    }
    Ok(())
}

/// The line on the standard input, if it is no terminal and holds one.
fn given() -> Result<Option<String>> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    let most = u64::try_from(2 * password::LONGEST_BYTES).unwrap_or(u64::MAX);
    input.by_ref().take(most).read_to_string(&mut text).context("could not read the password")?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        return Ok(None);
    }
    password::check(line).map_err(|bad| anyhow!("the password {bad}"))?;
    Ok(Some(line.to_owned()))
}

async fn hashed(passwords: &Passwords, password: &str) -> Result<String> {
    let why = |failure: Failure| anyhow!("could not hash the password: {}", failure.cause().unwrap_or(failure.code()));
    passwords.hash(password, "").await.map_err(why)
}

fn variable(name: &'static str) -> Result<Option<String>, BadFirstAdmin> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(BadFirstAdmin::Unreadable(name)),
    }
}

fn shown(admin: &Admin) -> serde_json::Value {
    crate::api::AdminView::of(admin).to_json()
}

fn changed(after: &Admin) -> AuditChange {
    AuditChange { kind: "admin".to_owned(), name: after.email.clone(), before: None, after: Some(shown(after)) }
}

fn here(name: &str) -> Actor {
    Actor::from(name)
}

/// With the output closed there is nobody to tell.
fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
