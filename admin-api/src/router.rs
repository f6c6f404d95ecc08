//! Every endpoint on one page; nothing registers routes elsewhere.

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Router};

use crate::account::account;
use crate::api::{
    BODY_LIMIT, DOCUMENT_LIMIT, apply, audit, config, docs, entities, explain, generations, import, itself, keys,
    members, nodes, preview, queues, session, tasks, traffic, users,
};
use crate::auth::gate;
use crate::error::Failure;
use crate::resource::{RESOURCES, Resource};
use crate::state::AppState;

/// The whole API over a state.
pub fn router(state: AppState) -> Router {
    let fixed = Router::new()
        .route("/admin/access/applications/{name}/keys", get(keys::list).post(keys::create))
        .route("/admin/access/applications/{name}/keys/{id}", get(keys::show).patch(keys::patch).delete(keys::revoke))
        .route("/admin/access/applications/{name}/keys/{id}/rotate", post(keys::rotate))
        .route("/admin/access/applications/{name}/webhook-secret", get(queues::application_secret))
        .route("/admin/audit", get(audit::list))
        .route("/admin/config/apply", document(post(apply::apply)))
        .route("/admin/auth/login", post(session::login))
        .route("/admin/auth/refresh", post(session::refresh))
        .route("/admin/auth/logout", post(session::logout))
        .route("/admin/auth/me", get(session::me))
        .route("/admin/auth/password", post(session::password))
        .route("/admin/config/export", get(config::export))
        .route("/admin/config/generations", get(generations::list))
        .route("/admin/config/generations/{number}", get(generations::show))
        .route("/admin/config/generations/{number}/diff", get(generations::diff))
        .route("/admin/config/generations/{number}/rollback", post(generations::roll_back))
        .route("/admin/config/import", document(post(import::import)))
        .route("/admin/config/validate", document(post(config::validate)))
        .route("/admin/explain", post(explain::explain))
        .route("/admin/nodes", get(nodes::list))
        .route("/admin/nodes/{id}", delete(nodes::remove))
        .route("/admin/preview", document(post(preview::preview)))
        .route("/admin/routing/queues/{name}/dead", get(queues::list_dead))
        .route("/admin/routing/queues/{name}/dead/replay", post(queues::replay_all))
        .route("/admin/routing/queues/{name}/dead/{id}", delete(queues::discard))
        .route("/admin/routing/queues/{name}/dead/{id}/replay", post(queues::replay))
        .route("/admin/routing/queues/{name}/status", get(queues::status))
        .route("/admin/routing/queues/{name}/test", post(queues::test))
        .route("/admin/routing/queues/{name}/webhook-secret", get(queues::queue_secret))
        .route("/admin/tasks", get(tasks::list))
        .route("/admin/tasks/{id}", get(tasks::show))
        .route("/admin/traffic", get(traffic::list))
        .route("/admin/users", get(users::list).post(users::create))
        .route("/admin/users/{id}", get(users::show).patch(users::patch).delete(users::delete))
        .route("/admin/users/{id}/tokens", get(users::tokens::list).post(users::tokens::create))
        .route("/admin/users/{id}/tokens/{tokenId}", delete(users::tokens::revoke))
        .route("/livez", get(itself::livez))
        .route("/readyz", get(itself::readyz))
        .route("/metrics", get(itself::metrics))
        .route("/openapi.json", get(itself::openapi))
        .route("/docs", get(docs::page))
        .route("/docs/{asset}", get(docs::asset));
    RESOURCES
        .iter()
        .fold(fixed, |router, resource| router.merge(of(resource)))
        .fallback(|| async { Failure::not_found("such endpoint") })
        .method_not_allowed_fallback(|| async { Failure::method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn_with_state(state.clone(), gate))
        .layer(from_fn_with_state(state.clone(), account))
        .with_state(state)
}

/// An endpoint that takes whole documents.
fn document(endpoint: MethodRouter<AppState>) -> MethodRouter<AppState> {
    endpoint.layer(DefaultBodyLimit::max(DOCUMENT_LIMIT))
}

/// The endpoints of one resource: `/admin/routing/services`, `…/{serviceName}`, `…/{serviceName}/versions[/{version}]`.
fn of(resource: &'static Resource) -> Router<AppState> {
    let entity = get(entities::show).put(entities::put).patch(entities::patch);
    let mut router = match resource.parameter {
        None => Router::new().route(resource.path, entity),
        Some(_) => Router::new()
            .route(resource.path, get(entities::list).post(entities::create))
            .route(&resource.entity_path(), entity.delete(entities::delete)),
    };
    for lists in resource.members {
        let one = get(members::show).put(members::put).patch(members::patch).delete(members::delete);
        let below = Router::new()
            .route(&resource.members_path(lists), get(members::list).post(members::create))
            .route(&lists.member_path(resource), one);
        router = router.merge(below.layer(Extension(lists)));
    }
    router.layer(Extension(resource))
}
