//! Admins: `/admin/users`. In place of an id their email may be written, or `me`.

mod body;
pub(crate) mod tokens;
mod view;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use gateway_config::change::Expect;
use gateway_config::clock::new_id;
use gateway_config::model::{Action, Admin, AuditChange, Id, Kind};
use gateway_config::store::{AdminWritten, Page};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use super::body::{JsonBody, PatchBody, read as read_body};
use super::conditional::{expected, json, put_tag, read};
use super::entities::refuse_condition;
use super::page;
use super::query::{NoQuery, Paging};
use crate::auth::{self, Caller, login};
use crate::error::Failure;
use crate::state::AppState;

pub(crate) use body::{CreateAdmin, CreateToken, PatchAdmin};
pub(crate) use view::{AdminView, ShownToken, TokenView};

const USERS: &str = "/admin/users";
/// Of an unconditional change that others get in the way of.
const ATTEMPTS: u32 = 5;

pub(crate) async fn list(
    _: auth::Admin,
    State(state): State<AppState>,
    paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let limit = paging.limit as usize;
    // One more than asked for tells whether there is a next page.
    let page = Page { after: paging.after, limit: paging.limit + 1, search: paging.search };
    let mut admins = state.ask(state.store.admins(&page)).await?;
    let is_last = admins.len() <= limit;
    admins.truncate(limit);
    let next = admins.last().filter(|_| !is_last).map(|admin| admin.email.clone());
    let items: Vec<Value> = admins.iter().map(|admin| AdminView::of(admin).to_json()).collect();
    // Any kind would do: a list's tag covers all that is in it.
    Ok(page::answer(&headers, Kind::Defaults, &items, next.as_deref()))
}

pub(crate) async fn show(
    auth::Admin(caller): auth::Admin,
    State(state): State<AppState>,
    Path(id): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let admin = find(&state, &caller, &id).await?;
    Ok(read(&headers, &tag(&admin), &AdminView::of(&admin).to_json()))
}

pub(crate) async fn create(
    auth::Admin(caller): auth::Admin,
    State(state): State<AppState>,
    _: NoQuery,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    refuse_condition(&headers)?;
    let given: CreateAdmin = read_body(body)?;
    let email = given.check()?;
    let hash = state.passwords.hash(&given.password, "password").await?;
    let now = state.clock.now();
    let admin = Admin {
        id: Id::new(new_id()),
        email,
        name: given.name,
        role: given.role,
        is_active: true,
        epoch: 0,
        revision: 1,
        created_at: now,
        updated_at: now,
    };
    let summary = format!("create admin \"{}\"", admin.email);
    let deed = state.deed(&caller.actor, Action::AdminCreate, summary, vec![changed(None, Some(&admin))]);
    match state.ask(state.store.add_admin(&admin, &hash, false, &deed, &state.chain)).await? {
        AdminWritten::Done => {}
        _ => return Err(Failure::conflict(format!("admin \"{}\" exists already", admin.email))),
    }
    let mut response = (StatusCode::CREATED, json(&AdminView::of(&admin).to_json())).into_response();
    put_tag(&mut response, &tag(&admin));
    put_location(&mut response, &format!("{USERS}/{}", admin.id));
    Ok(response)
}

pub(crate) async fn patch(
    auth::Admin(caller): auth::Admin,
    State(state): State<AppState>,
    Path(id): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
    PatchBody(body): PatchBody,
) -> Result<Response, Failure> {
    let wanted: PatchAdmin = read_body(body)?;
    wanted.check()?;
    let hash = match &wanted.password {
        Some(password) => Some(state.passwords.hash(password, "password").await?),
        None => None,
    };
    let expect = expected(&headers)?;
    for _ in 0..ATTEMPTS {
        let before = find(&state, &caller, &id).await?;
        refuse_stale(&expect, &before)?;
        let after = patched(&state, &before, &wanted);
        if after == before {
            return Ok(read(&HeaderMap::new(), &tag(&before), &AdminView::of(&before).to_json()));
        }
        let summary = summary_of(&before, &after, hash.is_some());
        let changes = vec![changed(Some(&before), Some(&after))];
        let deed = state.deed(&caller.actor, Action::AdminUpdate, summary, changes);
        let written = state.store.replace_admin(&before, &after, hash.as_deref(), &deed, &state.chain);
        match state.ask(written).await? {
            AdminWritten::Done => {
                return Ok(read(&HeaderMap::new(), &tag(&after), &AdminView::of(&after).to_json()));
            }
            AdminWritten::LastAdmin => return Err(last_admin(&before)),
            _ => {}
        }
    }
    Err(Failure::conflict("others change this admin all the time; try again"))
}

pub(crate) async fn delete(
    auth::Admin(caller): auth::Admin,
    State(state): State<AppState>,
    Path(id): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let expect = expected(&headers)?;
    for _ in 0..ATTEMPTS {
        let admin = find(&state, &caller, &id).await?;
        refuse_stale(&expect, &admin)?;
        let summary = format!("delete admin \"{}\"", admin.email);
        let deed = state.deed(&caller.actor, Action::AdminDelete, summary, vec![changed(Some(&admin), None)]);
        match state.ask(state.store.remove_admin(&admin, &deed, &state.chain)).await? {
            AdminWritten::Done => return Ok(StatusCode::NO_CONTENT.into_response()),
            AdminWritten::LastAdmin => return Err(last_admin(&admin)),
            _ => {}
        }
    }
    Err(Failure::conflict("others change this admin all the time; try again"))
}

/// An admin before and after, for the audit.
pub(crate) fn changed(before: Option<&Admin>, after: Option<&Admin>) -> AuditChange {
    let shown = |admin: &Admin| AdminView::of(admin).to_json();
    let name = after.or(before).map(|admin| admin.email.clone()).unwrap_or_default();
    AuditChange { kind: "admin".to_owned(), name, before: before.map(shown), after: after.map(shown) }
}

/// By id, by email, or the caller.
async fn find(state: &AppState, caller: &Caller, who: &str) -> Result<Admin, Failure> {
    let found = async {
        if let ("me", Some(admin)) = (who, caller.admin()) {
            return state.store.admin(admin.id).await;
        }
        match (Uuid::try_parse(who), login::email(who)) {
            (Ok(id), _) => state.store.admin(Id::new(id)).await,
            (_, Some(email)) => state.store.admin_of_email(&email).await,
            _ => Ok(None),
        }
    };
    state.ask(found).await?.ok_or_else(|| Failure::not_found(&format!("admin \"{who}\"")))
}

fn patched(state: &AppState, before: &Admin, wanted: &PatchAdmin) -> Admin {
    let mut after = before.clone();
    if let Some(name) = &wanted.name {
        name.clone_into(&mut after.name);
    }
    after.role = wanted.role.unwrap_or(before.role);
    after.is_active = wanted.is_active.unwrap_or(before.is_active);
    if wanted.password.is_some() || (before.is_active && !after.is_active) {
        // No session goes on into the next epoch.
        after.epoch += 1;
    }
    if after != *before {
        after.revision += 1;
        after.updated_at = state.clock.now();
    }
    after
}

fn summary_of(before: &Admin, after: &Admin, has_new_password: bool) -> String {
    let mut parts = Vec::new();
    if before.role != after.role {
        parts.push(format!("role {} → {}", before.role, after.role));
    }
    if before.is_active != after.is_active {
        parts.push(if after.is_active { "activated".to_owned() } else { "deactivated".to_owned() });
    }
    if before.name != after.name {
        parts.push("renamed".to_owned());
    }
    if has_new_password {
        parts.push("new password".to_owned());
    }
    format!("update admin \"{}\": {}", after.email, parts.join(", "))
}

fn tag(admin: &Admin) -> String {
    format!("{}-{}", admin.id, admin.revision)
}

fn refuse_stale(expect: &Expect, stands: &Admin) -> Result<(), Failure> {
    match expect {
        Expect::Tags(tags) if !tags.is_empty() && !tags.contains(&tag(stands)) => {
            Err(Failure::stale(format!("admin \"{}\" was changed in between", stands.email)))
        }
        Expect::Absent => Err(Failure::stale(format!("admin \"{}\" exists", stands.email))),
        _ => Ok(()),
    }
}

fn last_admin(admin: &Admin) -> Failure {
    Failure::conflict(format!("\"{}\" is the last active admin: nobody could manage admins any more", admin.email))
}

fn put_location(response: &mut Response, address: &str) {
    if let Ok(address) = HeaderValue::from_str(address) {
        response.headers_mut().insert(LOCATION, address);
    }
}
