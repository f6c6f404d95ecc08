//! Who may push: whoever signs by Standard Webhooks with a secret that this worker was given. One for each queue whose messages it takes.

use std::{
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use anyhow::{Context, Result};
use axum::http::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac::{HMAC_SHA256, Key, verify};

/// A message that was signed longer ago, or longer ahead, may be one that somebody recorded.
const TOLERANCE_S: i64 = 5 * 60;
/// A file is not read more often, whoever knocks.
const BETWEEN_LOOKS_MS: i64 = 500;

#[derive(Debug)]
pub(super) struct Secrets {
    /// Where they are read again when a signature is not known.
    file: Option<PathBuf>,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<Key>,
    read_at_ms: i64,
}

impl Secrets {
    /// Of the setting `WEBHOOK_SECRET`. A file may be missing so far.
    pub(super) fn new(setting: Option<&str>) -> Result<Self> {
        let missing = "it is pushed to and needs the secrets of its queues: WEBHOOK_SECRET";
        let setting = setting.filter(|setting| !setting.is_empty()).context(missing)?;
        if let Some(path) = setting.strip_prefix("file:") {
            return Ok(Self { file: Some(path.into()), known: RwLock::default() });
        }
        let keys = keys(setting).context("WEBHOOK_SECRET is no list of whsec_…")?;
        Ok(Self { file: None, known: RwLock::new(Known { keys, read_at_ms: 0 }) })
    }

    /// Whether the message is signed as it should be; `Err`: what is wrong.
    pub(super) fn verify(&self, headers: &HeaderMap, body: &[u8], now_ms: i64) -> Result<(), &'static str> {
        let header =
            |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or("a webhook header is missing");
        let (id, at, signatures) = (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
        let seconds: i64 = at.parse().map_err(|_| "webhook-timestamp is no number")?;
        if now_ms.div_euclid(1000).abs_diff(seconds) > TOLERANCE_S.unsigned_abs() {
            return Err("it was signed at another time");
        }
        let content = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
        let signatures = signatures.split(' ').filter_map(|text| text.strip_prefix("v1,"));
        let signatures: Vec<Vec<u8>> = signatures.filter_map(|text| STANDARD.decode(text).ok()).collect();
        if self.knows(&content, &signatures) || (self.look_again(now_ms) && self.knows(&content, &signatures)) {
            Ok(())
        } else {
            Err("the signature is by nobody known")
        }
    }

    fn knows(&self, content: &[u8], signatures: &[Vec<u8>]) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // The comparison takes the same time wherever they differ.
        let is_by = |key| signatures.iter().any(|signature| verify(key, content, signature).is_ok());
        known.keys.iter().any(is_by)
    }

    /// Whether the file was read.
    fn look_again(&self, now_ms: i64) -> bool {
        let Some(file) = &self.file else { return false };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if now_ms.abs_diff(known.read_at_ms) < BETWEEN_LOOKS_MS.unsigned_abs() {
            return true;
        }
        known.read_at_ms = now_ms;
        match std::fs::read_to_string(file).map_err(anyhow::Error::from).and_then(|text| keys(&text)) {
            Ok(keys) => known.keys = keys,
            Err(cause) => tracing::warn!("could not read webhook secrets from {}: {cause}", file.display()),
        }
        true
    }
}

/// Separated by commas or white space.
fn keys(text: &str) -> Result<Vec<Key>> {
    let secrets =
        text.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|secret| !secret.is_empty());
    let key = |secret: &str| {
        let encoded = secret.strip_prefix("whsec_").context("a secret begins with whsec_")?;
        let bytes = STANDARD.decode(encoded).ok().context("behind whsec_ stands base64")?;
        Ok(Key::new(HMAC_SHA256, &bytes))
    };
    secrets.map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_614_265_330_500;
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    /// The example of the specification's libraries.
    fn headers() -> HeaderMap {
        let pairs = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_specifications_example_is_known_by_its_secret_and_by_no_other() {
        let secrets = Secrets::new(Some(SECRET)).unwrap();
        assert_eq!(secrets.verify(&headers(), BODY, NOW_MS), Ok(()));
        let both = Secrets::new(Some(&format!("whsec_AAAA,{SECRET}"))).unwrap();
        assert_eq!(both.verify(&headers(), BODY, NOW_MS), Ok(()));
        assert!(Secrets::new(Some("whsec_AAAA")).unwrap().verify(&headers(), BODY, NOW_MS).is_err());
    }

    #[test]
    fn an_altered_an_old_and_an_unsigned_message_are_refused() {
        let secrets = Secrets::new(Some(SECRET)).unwrap();
        assert!(secrets.verify(&headers(), b"{}", NOW_MS).is_err());
        assert!(secrets.verify(&headers(), BODY, NOW_MS + 301_000).is_err());
        assert!(secrets.verify(&headers(), BODY, NOW_MS - 301_000).is_err());
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut headers = headers();
            headers.remove(name);
            assert!(secrets.verify(&headers, BODY, NOW_MS).is_err(), "{name}");
        }
        let mut other = headers();
        other.insert("webhook-id", "msg_other".parse().unwrap());
        assert!(secrets.verify(&other, BODY, NOW_MS).is_err());
    }

    #[test]
    fn a_file_may_come_later_and_a_missing_setting_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets");
        let secrets = Secrets::new(Some(&format!("file:{}", file.display()))).unwrap();
        assert!(secrets.verify(&headers(), BODY, NOW_MS).is_err());
        std::fs::write(&file, format!("whsec_AAAA\n{SECRET}\n")).unwrap();
        assert_eq!(secrets.verify(&headers(), BODY, NOW_MS + 1000), Ok(()));
        for wrong in [None, Some(""), Some("secret"), Some("whsec_!")] {
            assert!(Secrets::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
