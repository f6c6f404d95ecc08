//! The fleet's signing keys: made by whichever gateway finds that one is due, used by all. The store keeps them as they are; the
//! private halves are sealed before they get here.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::model::Timestamp;

use super::Result;
use super::session::{Cell, Record, Session};
use super::table::Holds;

const LIST: &str = "SELECT kid, slot, public_jwk, sealed_private_key, created_at, active_from, retired_at \
    FROM gateway_signing_key ORDER BY slot";
const ADD: &str = "INSERT INTO gateway_signing_key \
    (kid, slot, public_jwk, sealed_private_key, created_at, active_from, retired_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
const RETIRE: &str = "UPDATE gateway_signing_key SET retired_at = $2 WHERE slot < $1 AND retired_at IS NULL";
const FORGET: &str = "DELETE FROM gateway_signing_key WHERE retired_at < $1";

const SHAPE: [Holds; 7] =
    [Holds::Text, Holds::Integer, Holds::Text, Holds::Bytes, Holds::Time, Holds::Time, Holds::Time];
const FIELDS: [&str; 7] = ["kid", "slot", "publicJwk", "sealedPrivateKey", "createdAt", "activeFrom", "retiredAt"];

/// A signing key as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigningKeyRow {
    /// The key's id, which tokens name.
    pub kid: String,
    /// Which rotation it is for: each is taken once.
    pub slot: i64,
    /// The public half as a JSON Web Key.
    pub public_jwk: String,
    /// The private half, readable only under the fleet's master key.
    #[serde(serialize_with = "write_hex", deserialize_with = "read_hex")]
    pub sealed_private_key: Vec<u8>,
    pub created_at: Timestamp,
    /// From when it signs.
    pub active_from: Timestamp,
    /// From when its successor signs; none while it has none.
    #[serde(default)]
    pub retired_at: Option<Timestamp>,
}

impl fmt::Debug for SigningKeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeyRow").field("kid", &self.kid).field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// The oldest first.
pub(super) async fn list(session: &mut dyn Session) -> Result<Vec<SigningKeyRow>> {
    let rows = session.fetch(LIST, Vec::new(), &SHAPE).await?;
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Adds the key and retires those before it; `false`, and nothing is done, when its slot is taken.
pub(super) async fn add(session: &mut dyn Session, row: &SigningKeyRow) -> Result<bool> {
    let active_from = Cell::Integer(Some(row.active_from.micros()));
    let cells = vec![
        Cell::text(&row.kid),
        Cell::Integer(Some(row.slot)),
        Cell::text(&row.public_jwk),
        Cell::Bytes(Some(row.sealed_private_key.clone())),
        Cell::Integer(Some(row.created_at.micros())),
        active_from.clone(),
        Cell::Integer(row.retired_at.map(Timestamp::micros)),
    ];
    if session.execute(ADD, cells).await? == 0 {
        return Ok(false);
    }
    session.execute(RETIRE, vec![Cell::Integer(Some(row.slot)), active_from]).await?;
    Ok(true)
}

pub(super) async fn forget(session: &mut dyn Session, before: Timestamp) -> Result<()> {
    session.execute(FORGET, vec![Cell::Integer(Some(before.micros()))]).await.map(drop)
}

/// A spoilt row is one key less: the others serve on.
fn read(row: Record) -> Option<SigningKeyRow> {
    let fields = FIELDS.iter().zip(row).filter_map(|(name, value)| Some(((*name).to_owned(), value.ok()?)));
    serde_json::from_value(Value::Object(fields.collect()))
        .inspect_err(|error| tracing::warn!(%error, "a row of gateway_signing_key can't be read"))
        .ok()
}

fn write_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&super::session::hex(bytes))
}

fn read_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |byte: &u8| (*byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect::<Option<Vec<u8>>>();
    bytes.filter(|_| rest.is_empty()).ok_or_else(|| de::Error::custom("it is not written in hexadecimal digits"))
}
