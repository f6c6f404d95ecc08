//! `admin-api check`: every setting and every dependency, and one line for each that is wrong.

use anyhow::{Result, bail};
use gateway_config::master_key::MasterKey;
use gateway_config::store::{self, StoreError};
use tokio::net::TcpListener;

use crate::first_admin::FirstAdmin;
use crate::settings::{AdminToken, Settings, TOKEN_VARIABLE};

/// Good news on stdout, bad news on stderr.
pub(crate) async fn check(settings: &Settings) -> Result<()> {
    let mut wrong = Vec::new();
    match AdminToken::from_environment() {
        Ok(Some(_)) => println!("token: ok"),
        Ok(None) => println!("token: {TOKEN_VARIABLE} is not set, so only admins and their tokens get in"),
        Err(error) => wrong.push(format!("token: {error}")),
    }
    if let Err(error) = FirstAdmin::from_environment() {
        wrong.push(format!("first-admin: {error}"));
    }
    match MasterKey::find(&settings.common.database_url) {
        Ok(Some(_)) => println!("master-key: ok"),
        Ok(None) => println!("master-key: none yet; serve makes one beside the database"),
        Err(error) => wrong.push(format!("master-key: {error}")),
    }
    match TcpListener::bind(settings.listen).await {
        Ok(_) => println!("listen: ok, {}", settings.listen),
        Err(error) => wrong.push(format!("listen: could not listen on {}: {error}", settings.listen)),
    }
    if let Some(dir) = settings.common.secrets_dir.as_ref().filter(|dir| !dir.is_dir()) {
        wrong.push(format!("secrets-dir: {} is not a directory", dir.display()));
    }
    match database(&settings.common.database_url).await {
        Ok(state) => println!("database: ok, {state}"),
        Err(error) => wrong.push(format!("database: {error}")),
    }
    for line in &wrong {
        eprintln!("{line}");
    }
    match wrong.len() {
        0 => Ok(()),
        1 => bail!("1 thing is wrong"),
        count => bail!("{count} things are wrong"),
    }
}

async fn database(url: &str) -> Result<String, StoreError> {
    match store::open(url).await?.head().await {
        Ok(head) => Ok(format!("at generation {}", head.generation)),
        // It answers, and `serve` makes the tables.
        Err(StoreError::NotMigrated(_)) => Ok("without tables yet; serve or migrate makes them".to_owned()),
        Err(error) => Err(error),
    }
}
