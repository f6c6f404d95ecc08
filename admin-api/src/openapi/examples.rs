//! What the description shows as an example, one small shop throughout. A test sends each body to the router: what stands here
//! is accepted.

use gateway_config::model::Kind;
use serde_json::{Value, json};

/// Of no use to anybody: its key was thrown away.
const CERTIFICATE: &str = include_str!("example.pem");

/// The name that stands in the paths of the examples.
pub(super) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Service | Kind::Route => "orders",
        Kind::Queue => "mails",
        Kind::Application | Kind::Certificate => "shop",
        Kind::Issuer => "login",
        Kind::Defaults => "defaults",
    }
}

/// An entity as somebody would write it.
pub(super) fn entity(kind: Kind) -> Value {
    match kind {
        Kind::Service => json!({
            "serviceName": name(kind),
            "description": "Takes orders",
            "versions": [
                {"version": "v1", "url": "http://127.0.0.1:7000", "weight": 90},
                {"version": "v1-canary", "apiVersion": "v1", "url": "http://127.0.0.1:7001", "weight": 10},
            ],
            "stickyOn": "caller",
            "healthCheck": {"path": "/healthz"},
        }),
        Kind::Route => json!({
            "name": name(kind),
            "hosts": ["shop.example.com"],
            "path": "/api/{version}/orders/{*rest}",
            "methods": ["GET", "POST"],
            "target": {"service": "orders"},
            "rewrite": "/orders/{rest}",
            "limits": [{"requests": 100, "perSeconds": 60}],
        }),
        Kind::Queue => json!({
            "name": name(kind),
            "broker": "embedded",
            "destination": {"deliverTo": "http://127.0.0.1:7202/mails"},
            "schema": {"type": "object", "required": ["to", "subject"]},
        }),
        Kind::Application => json!({
            "name": name(kind),
            "description": "The shop's web front end",
            "allowedServices": ["orders", "mails"],
            "allowedVersions": ["v1"],
            "jwtClients": [{"issuer": "login", "clientId": "shop-frontend"}],
            "limits": [{"requests": 1000, "perSeconds": 60}],
            "whitelist": [member(kind)],
        }),
        Kind::Issuer => json!({
            "name": name(kind),
            "issuer": "https://login.example.com",
            "audiences": ["https://shop.example.com"],
            "algorithms": ["RS256"],
            "jwksUrl": "https://login.example.com/jwks.json",
        }),
        Kind::Certificate => json!({
            "name": name(kind),
            "hosts": ["shop.example.com"],
            "certificatePem": CERTIFICATE,
            "privateKey": "file:shop.key",
        }),
        Kind::Defaults => json!({
            "limits": [{"requests": 600, "perSeconds": 60, "by": "ip"}],
            "maxBodyBytes": 1_048_576,
        }),
    }
}

/// A member of the lists of such an entity.
pub(super) fn member(kind: Kind) -> Value {
    match kind {
        Kind::Application => json!({
            "endpointPath": "/api/{version}/orders/{*rest}",
            "allowedMethods": ["GET", "POST"],
            "allowedVersions": ["v1"],
            "rateLimit": 30,
        }),
        _ => json!({"version": "v2", "url": "http://127.0.0.1:7002"}),
    }
}

/// Something that is changed about an entity, and nothing else.
pub(super) fn entity_patch(kind: Kind) -> Value {
    match kind {
        Kind::Service => json!({"maintenance": {"message": "back at ten", "retryAfterSeconds": 600}}),
        Kind::Route => json!({"priority": 10, "limits": [{"requests": 200, "perSeconds": 60}]}),
        Kind::Queue => json!({"maxAttempts": 10, "onBrokerDown": "spool"}),
        Kind::Application => json!({"allowedVersions": ["v1", "v2"]}),
        Kind::Issuer => json!({"leewaySeconds": 30}),
        Kind::Certificate => json!({"hosts": ["shop.example.com", "www.shop.example.com"]}),
        Kind::Defaults => json!({"ipDeny": ["203.0.113.0/24"]}),
    }
}

/// The same of a member.
pub(super) fn member_patch(kind: Kind) -> Value {
    match kind {
        Kind::Application => json!({"rateLimit": 60}),
        _ => json!({"weight": 20}),
    }
}

/// Changes that belong together.
pub(super) fn changes() -> Value {
    json!([
        {"op": "put", "kind": "service", "name": "prices", "value": {"defaultUrl": "http://127.0.0.1:7003"}},
        {
            "op": "put", "kind": "route", "name": "prices",
            "value": {"path": "/prices", "target": {"service": "prices"}, "access": {"anyOf": ["public"]}},
        },
    ])
}

/// Some sections of a configuration.
pub(super) fn document() -> Value {
    json!({
        "services": [{"serviceName": "prices", "defaultUrl": "http://127.0.0.1:7003"}],
        "routes": [{"name": "prices", "path": "/prices", "target": {"service": "prices"}}],
    })
}

/// A request for the gateway to explain.
pub(super) fn question() -> Value {
    json!({"method": "GET", "host": "shop.example.com", "path": "/api/v1/orders/7", "application": "shop"})
}
