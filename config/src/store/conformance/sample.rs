//! Entities to write: one of each kind with every field set, and small ones.

use serde_json::{Value, json};

use crate::clock::new_id;
use crate::model::{Item, Kind, Problem};
use crate::store::{Result, StoreError};

const CREATED: &str = "2026-01-31T12:00:00.123456Z";
const UPDATED: &str = "2026-02-01T00:00:00Z";

/// An entity from its JSON.
pub(super) fn item(kind: Kind, value: Value) -> Result<Item> {
    Item::from_json(kind, value).map_err(StoreError::Spoilt)
}

pub(super) fn service(name: &str, description: &str) -> Result<Item> {
    item(Kind::Service, json!({"id": new_id(), "serviceName": name, "description": description}))
}

pub(super) fn route(name: &str) -> Result<Item> {
    item(Kind::Route, json!({"id": new_id(), "name": name, "path": "/", "target": {"service": "auth"}}))
}

/// A service with these versions, each `(id, version)`.
pub(super) fn versions(name: &str, versions: &[(uuid::Uuid, &str)]) -> Result<Item> {
    let versions: Vec<Value> = versions.iter().map(|(id, version)| json!({"id": id, "version": version})).collect();
    item(Kind::Service, json!({"id": new_id(), "serviceName": name, "versions": versions}))
}

/// One entity of every kind, with no field left out.
pub(super) fn full() -> Result<Vec<Item>> {
    let whole = [
        (Kind::Service, full_service()),
        (Kind::Route, full_route()),
        (Kind::Queue, full_queue()),
        (Kind::Application, full_application()),
        (Kind::Issuer, full_issuer()),
        (Kind::Certificate, full_certificate()),
        (Kind::Defaults, full_defaults()),
    ];
    let items: Result<Vec<Item>> = whole.into_iter().map(|(kind, value)| item(kind, value)).collect();
    let items = items?;
    for item in &items {
        // A field that is later added to the model and not here would be proven by nothing.
        let null = item
            .to_json()
            .as_object()
            .and_then(|fields| fields.iter().find(|(_, field)| field.is_null()).map(|(name, _)| name.clone()));
        if let Some(field) = null {
            return Err(StoreError::Spoilt(Problem::new(field, "the sample leaves this field out")));
        }
    }
    Ok(items)
}

fn full_service() -> Value {
    json!({
        "id": new_id(), "serviceName": "auth", "description": "Who are you? Ünïcödé \"quoted\"",
        "defaultUrl": "http://127.0.0.1:7200", "currentVersion": "v1", "fallbackUrl": "http://127.0.0.1:7000",
        "isActive": false, "maintenance": {"statusCode": 503, "message": "back soon", "retryAfterSeconds": 5},
        "versions": [
            {"id": new_id(), "version": "v2", "apiVersion": "v1", "url": "http://127.0.0.1:7201",
             "instances": [{"url": "http://127.0.0.1:1", "weight": 3}, {"url": "http://127.0.0.1:2", "weight": 0}],
             "weight": 1000, "isActive": false, "createdAt": CREATED, "updatedAt": UPDATED},
            {"id": new_id(), "version": "v1", "weight": 0, "createdAt": CREATED, "updatedAt": UPDATED},
        ],
        "stickyOn": "cookie:session", "loadBalancing": {"algorithm": "consistent_hash", "hashOn": "header:x-user"},
        "healthCheck": {"path": "/livez", "intervalMs": 1, "timeoutMs": 2, "healthyAfter": 3, "unhealthyAfter": 4},
        "ejection": {"consecutiveFailures": 1, "ejectMs": 2, "maxPercent": 100},
        "timeouts": {"connectMs": 1, "readMs": 2, "writeMs": 3, "totalMs": u32::MAX},
        "retries": {"attempts": 0, "on": ["timeout", "status502"], "budgetPercent": 0}, "maxConcurrent": 100,
        "protocol": "h2c", "tls": {"ca": "PEM", "clientCertificate": "file:client.pem", "sni": "auth", "verify": false},
        "hostHeader": "auth.internal:8080", "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn full_route() -> Value {
    json!({
        "id": new_id(), "name": "auth", "hosts": ["*.example.com", "example.com"], "path": "/api/{version}/auth/{*rest}",
        "methods": ["GET", "POST"], "headers": {"x-a": "~^b$"}, "query": {"c": "d"}, "priority": -7,
        "target": {"aggregate": {"parts": [{"name": "me", "service": "auth", "path": "/me", "optional": true}]}},
        "rewrite": "/v1/{rest}",
        "access": {"anyOf": ["jwt"], "applicationRequired": false, "roles": ["r"], "scopes": ["s"],
                   "invalidCredentials": "ignore", "stripAuthorization": true},
        "limits": [limit()], "cors": cors(), "screening": "block", "ipAllow": ["10.0.0.0/8"], "ipDeny": ["::1/128"],
        "transform": {"request": {"setHeaders": {"a": "b"}, "addHeaders": {"c": "d"}, "removeHeaders": ["e"]}},
        "cache": {"ttlSeconds": 1, "staleSeconds": 2, "varyHeaders": ["accept"], "maxBodyBytes": 3},
        "maxBodyBytes": 9_007_199_254_740_993_u64, "timeouts": {"totalMs": 5}, "retries": {"attempts": 1},
        "isActive": false, "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn full_queue() -> Value {
    json!({
        "id": new_id(), "name": "orders", "broker": "kafka", "connection": "main",
        "destination": {"topic": "orders", "keyFrom": "/id"}, "maxBodyBytes": 1,
        // Numbers that a database would like to write in another way, and keys in an order of their own.
        "schema": {"type": "object", "maximum": 1e18, "minimum": -0.0, "multipleOf": 1.0, "a": [null, true, {}]},
        "onBrokerDown": "spool", "confirmTimeoutMs": 1, "concurrency": 2, "maxAttempts": 3, "isActive": false,
        "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn full_application() -> Value {
    json!({
        "id": new_id(), "name": "shop", "description": "the shop", "allowedServices": ["auth", "orders"],
        "allowedVersions": ["*"], "isActive": false, "jwtClients": [{"issuer": "idp", "clientId": "shop"}],
        "limits": [limit()], "ipAllow": ["192.0.2.0/24"], "ipDeny": ["192.0.2.7/32"], "callbackHosts": ["shop.test"],
        "whitelist": [
            {"id": new_id(), "endpointPath": "/z", "allowedMethods": ["GET"], "allowedVersions": ["v1"], "rateLimit": 5,
             "isPublic": true, "createdAt": CREATED, "updatedAt": UPDATED},
            {"id": new_id(), "endpointPath": "/a", "createdAt": CREATED, "updatedAt": UPDATED},
        ],
        "apiKeys": [
            {"id": new_id(), "name": "old", "prefix": "zzzzzzzzzzzz", "apiKeyHash": "$argon2id$1", "expiresAt": UPDATED,
             "isActive": false, "createdAt": CREATED, "updatedAt": UPDATED},
            {"id": new_id(), "name": "new", "prefix": "aaaaaaaaaaaa", "apiKeyHash": "$argon2id$2", "createdAt": CREATED,
             "updatedAt": UPDATED},
        ],
        "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn full_issuer() -> Value {
    json!({
        "id": new_id(), "name": "idp", "issuer": "https://idp.test/", "audiences": ["a"], "algorithms": ["EdDSA", "HS256"],
        "secret": "env:GATEWAY_SECRET_IDP", "publicKeyPem": "PEM", "jwksUrl": "https://idp.test/jwks",
        "introspectionUrl": "https://idp.test/introspect", "clientId": "gateway", "clientSecret": "file:idp",
        "claims": {"subject": "/s", "roles": "/r", "scopes": "/c", "client": "/k"}, "leewaySeconds": 30,
        "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn full_certificate() -> Value {
    json!({
        "id": new_id(), "name": "shop", "hosts": ["shop.test"], "certificatePem": "PEM", "privateKey": "file:shop.key",
        "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn full_defaults() -> Value {
    json!({
        "id": new_id(), "name": "defaults", "limits": [limit()], "ipAllow": ["0.0.0.0/0"], "ipDeny": ["10.1.0.0/16"],
        "cors": cors(), "securityHeaders": {"x-frame-options": "SAMEORIGIN"}, "maxBodyBytes": 1, "maxHeaderBytes": 2,
        "maxUriBytes": 3, "createdAt": CREATED, "updatedAt": UPDATED,
    })
}

fn limit() -> Value {
    json!({"requests": 3, "perSeconds": 1, "burst": 5, "by": "ip", "shared": true, "onStoreError": "deny"})
}

fn cors() -> Value {
    json!({
        "allowOrigins": ["https://a.test"], "allowMethods": ["GET"], "allowHeaders": ["x-a"], "exposeHeaders": ["x-b"],
        "allowCredentials": true, "maxAgeSeconds": 1,
    })
}
