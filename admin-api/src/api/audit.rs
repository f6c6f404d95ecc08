//! The audit: who did what, when and from where. Operators may read it, viewers may not: it says where people sit and what they
//! tried.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use gateway_config::model::{Action, Kind, Timestamp};
use gateway_config::store::AuditQuery;
use http::HeaderMap;
use http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::generations::read_number;
use super::page;
use super::query::{Given, LIST, Paging};
use crate::auth::Operator;
use crate::error::Failure;
use crate::state::AppState;

/// `?limit=&cursor=&q=&actor=&action=&kind=&name=&since=&until=`
#[derive(Debug)]
pub(crate) struct Search(AuditQuery);

pub(crate) async fn list(
    Operator(_): Operator,
    State(state): State<AppState>,
    Search(query): Search,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = state.ask(state.store.audit_search(&query)).await?;
    let items: Vec<Value> =
        found.entries.iter().map(|entry| serde_json::to_value(entry).unwrap_or(Value::Null)).collect();
    let next = found.next.map(|number| number.to_string());
    // Any kind would do: a list's tag covers all that is in it.
    Ok(page::answer(&headers, Kind::Defaults, &items, next.as_deref()))
}

impl<S: Sync> FromRequestParts<S> for Search {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let others = ["actor", "action", "kind", "name", "since", "until"];
        let mut given = Given::of(parts, &[&LIST[..], &others[..]].concat())?;
        let Paging { limit, after, search } = Paging::among(&mut given);
        let mut text = |name| given.take(name, |text| plain(text).map(ToOwned::to_owned));
        let (actor, kind, name) = (text("actor"), text("kind"), text("name"));
        let action = given.take("action", |text| word::<Action>(text, "is no action such as config.write"));
        let mut time =
            |name| given.take(name, |text| word::<Timestamp>(text, "must be a time like 2026-01-31T12:00:00Z"));
        let (since, until) = (time("since"), time("until"));
        let query = AuditQuery { before: None, limit, search, actor, action, kind, name, since, until };
        let before = after.map(|cursor| read_number(&cursor)).transpose();
        let query = given.into_result(query)?;
        Ok(Self(AuditQuery { before: before?, ..query }))
    }
}

/// A text that a database can compare.
fn plain(text: &str) -> Result<&str, String> {
    if text.chars().any(char::is_control) { Err("must not hold control characters".to_owned()) } else { Ok(text) }
}

fn word<T: DeserializeOwned>(text: &str, otherwise: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| otherwise.to_owned())
}
