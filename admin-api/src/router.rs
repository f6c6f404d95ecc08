//! Every endpoint on one page; nothing registers routes elsewhere.

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};

use crate::account::account;
use crate::api::{BODY_LIMIT, config, entities, explain, itself, keys, members, nodes};
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
        .route("/admin/config/export", get(config::export))
        .route("/admin/config/validate", post(config::validate))
        .route("/admin/explain", post(explain::explain))
        .route("/admin/nodes", get(nodes::list))
        .route("/admin/nodes/{id}", delete(nodes::remove))
        .route("/livez", get(itself::livez))
        .route("/readyz", get(itself::readyz))
        .route("/metrics", get(itself::metrics))
        .route("/openapi.json", get(itself::openapi));
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
