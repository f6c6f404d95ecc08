//! Lists: `{items, nextCursor}`.

use gateway_config::change::tag_of_member;
use gateway_config::model::Kind;
use http::HeaderMap;
use serde_json::{Value, json};

use axum::response::Response;

use super::conditional::read;
use super::query::{Paging, write_cursor};
use crate::error::Failure;

pub(crate) const USUAL_PAGE: u32 = 50;
pub(crate) const LARGEST_PAGE: u32 = 500;

/// A page of what is in memory already, in the order in which it stands there.
pub(crate) fn cut(all: Vec<Value>, key: &str, paging: &Paging) -> Result<(Vec<Value>, Option<String>), Failure> {
    let name_of = |item: &Value| item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let begin = match &paging.after {
        None => 0,
        // What it stood behind was deleted: nobody knows any more where that was.
        Some(after) => match all.iter().position(|item| name_of(item) == *after) {
            Some(at) => at + 1,
            None => return Err(Failure::invalid_at("cursor", "is not a nextCursor of this list any more")),
        },
    };
    let wanted = paging.search.as_deref().unwrap_or_default().to_ascii_lowercase();
    let mut found = all.into_iter().skip(begin).filter(|item| name_of(item).to_ascii_lowercase().contains(&wanted));
    let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
    let items: Vec<Value> = found.by_ref().take(limit).collect();
    let next = found.next().and(items.last().map(name_of));
    Ok((items, next))
}

/// `last`: the name behind which the next page begins.
pub(crate) fn answer(headers: &HeaderMap, kind: Kind, items: &[Value], last: Option<&str>) -> Response {
    let body = json!({"items": items, "nextCursor": last.map(write_cursor)});
    let tag = tag_of_member(kind, &body);
    read(headers, &tag, &body)
}
