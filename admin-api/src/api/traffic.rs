//! `GET /admin/traffic`: samples of what came by lately, as the gateways wrote them down.

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use gateway_config::model::{Kind, SAMPLE_MINUTES, Sample, Timestamp};
use gateway_config::snapshot::Code;
use gateway_config::store::TrafficQuery;
use http::HeaderMap;
use http::request::Parts;
use serde_json::Value;
use uuid::Uuid;

use super::page;
use super::query::{Given, Paging};
use crate::auth::Viewer;
use crate::error::Failure;
use crate::state::AppState;

const MINUTE_MICROS: i64 = 60 * 1_000_000;

/// `?limit=&cursor=&route=&application=&status=&code=&since=`
#[derive(Debug)]
pub(crate) struct Wanted(TrafficQuery);

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    Wanted(mut query): Wanted,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    query.since = query.since.max(oldest(state.clock.now()));
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    // One more tells whether there is another page.
    query.limit += 1;
    let found = state.ask(state.store.traffic(&query)).await?;
    let last = found.get(limit).and_then(|_| found.get(limit.checked_sub(1)?)).map(place);
    let items: Vec<Value> =
        found.iter().take(limit).map(|sample| serde_json::to_value(sample).unwrap_or(Value::Null)).collect();
    // Any kind would do: a list's tag covers all that is in it.
    Ok(page::answer(&headers, Kind::Defaults, &items, last.as_deref()))
}

/// What is older may be there still, for nobody has cleared up yet.
pub(super) fn oldest(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_sub(SAMPLE_MINUTES * MINUTE_MICROS))
}

fn place(sample: &Sample) -> String {
    format!("{}.{}", sample.at.micros(), sample.id)
}

fn read_place(text: &str) -> Option<(Timestamp, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((Timestamp::from_micros(at.parse().ok()?), Uuid::parse_str(id).ok()?))
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["limit", "cursor", "route", "application", "status", "code", "since"])?;
        let Paging { limit, after, .. } = Paging::among(&mut given);
        let mut name = |field| {
            given.take(field, |text| {
                let is_plain = !text.chars().any(char::is_control);
                if is_plain { Ok(text.to_owned()) } else { Err("must not hold control characters".to_owned()) }
            })
        };
        let (route, application) = (name("route"), name("application"));
        let status = given.take("status", |text| {
            let status = text.parse().ok().filter(|status| *status < 600);
            status.ok_or_else(|| "must be a status such as 403".to_owned())
        });
        let code = given.take("code", |text| {
            let code = Code::of(text).map(|code| code.as_str().to_owned());
            code.ok_or_else(|| "is no code such as endpoint_not_allowed".to_owned())
        });
        let since = given.take("since", |text| {
            let time = serde_json::from_value(Value::from(text));
            time.map_err(|_| "must be a time like 2026-01-31T12:00:00Z".to_owned())
        });
        let before = match after.as_deref().map(read_place) {
            Some(None) => return Err(Failure::invalid_at("cursor", "is not a nextCursor of this list")),
            Some(place) => place,
            None => None,
        };
        let since = since.unwrap_or_default();
        given.into_result(Self(TrafficQuery { limit, since, before, route, application, status, code }))
    }
}
