//! The secret by which workers are known to the services: given in a setting, or kept in the data folder that they share.

use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, Result};
use ring::hmac;

use crate::database;

/// It is shown to nobody.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Takes the same time wherever the two differ.
    pub(crate) fn is(&self, shown: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        hmac::verify(&key, shown.as_bytes(), hmac::sign(&key, self.0.as_bytes()).as_ref()).is_ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(…)")
    }
}

const SHORTEST: usize = 32;

/// The one that was given, or that of the folder, which is made when it is missing.
pub(crate) async fn of_workers(folder: &Path, given: Option<&str>) -> Result<Token> {
    let text = match given.filter(|given| !given.is_empty()) {
        Some(given) => given.to_owned(),
        None => {
            kept(folder).await.with_context(|| format!("could not read or make a token in {}", folder.display()))?
        }
    };
    anyhow::ensure!(text.len() >= SHORTEST, "AUTH_WORKER_TOKEN needs at least {SHORTEST} characters");
    Ok(Token(text))
}

async fn kept(folder: &Path) -> Result<String> {
    let _turn = database::take_turn(folder).await?;
    let path = folder.join("worker-token");
    if let Ok(kept) = std::fs::read_to_string(&path) {
        return Ok(kept.trim().to_owned());
    }
    let text = blake3::Hash::from_bytes(rand::random()).to_hex().to_string();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    writeln!(file, "{text}")?;
    Ok(text)
}
