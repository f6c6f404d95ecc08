//! Kong's plugins, each as what it comes to here. A plugin that may keep callers out and has no counterpart never opens a route:
//! where it stood, credentials are asked for, or nobody is let in.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::super::draft::Draft;
use super::super::foreign::{fields, flag, members, number, text, texts};

/// A plugin that is switched on.
#[derive(Debug)]
pub(super) struct Plugin<'v> {
    pub(super) name: &'v str,
    pub(super) origin: String,
    pub(super) effect: Effect,
}

#[derive(Debug)]
pub(super) enum Effect {
    /// One of our credentials; `anonymous` names the consumer that stands in for whoever has none.
    Credential {
        word: &'static str,
        anonymous: Option<String>,
    },
    /// Keeps callers out in a way that we don't know.
    Guard,
    /// Of consumers.
    Groups {
        allow: Vec<String>,
        deny: Vec<String>,
    },
    Limits(Vec<Value>),
    Cors(Value),
    Addresses {
        allow: Vec<String>,
        deny: Vec<String>,
    },
    BodySize(u64),
    Transform(Value),
    Terminate(Termination),
    /// What it does can't be left out without opening the route.
    Shut,
    Nothing,
}

#[derive(Debug)]
pub(super) struct Termination {
    pub(super) status: u64,
    pub(super) message: Option<String>,
    pub(super) content_type: String,
    /// `None`: the message as JSON.
    pub(super) body: Option<String>,
}

const GUARDS: [&str; 8] = [
    "basic-auth",
    "hmac-auth",
    "ldap-auth",
    "ldap-auth-advanced",
    "mtls-auth",
    "vault-auth",
    "header-cert-auth",
    "saml",
];

/// Their tokens are JWTs or opaque; an issuer says how they are verified.
const TOKENS: [&str; 3] = ["oauth2", "oauth2-introspection", "openid-connect"];

/// Without these a request is served all the same.
const HARMLESS: [&str; 27] = [
    "acme",
    "bot-detection",
    "correlation-id",
    "datadog",
    "file-log",
    "grpc-gateway",
    "grpc-web",
    "http-log",
    "kafka-log",
    "loggly",
    "opentelemetry",
    "prometheus",
    "proxy-cache",
    "proxy-cache-advanced",
    "response-ratelimiting",
    "request-transformer-advanced",
    "response-transformer-advanced",
    "route-transformer-advanced",
    "session",
    "statsd",
    "statsd-advanced",
    "syslog",
    "tcp-log",
    "tls-metadata-headers",
    "udp-log",
    "upstream-timeout",
    "zipkin",
];

/// What a plugin of this name comes to.
pub(super) fn effect(name: &str, config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    match name {
        "key-auth" | "key-auth-enc" => key_auth(config, origin, draft),
        "jwt" => jwt(config, origin, draft),
        "acl" => groups(config),
        "rate-limiting" => limits(config, origin, draft),
        "rate-limiting-advanced" => advanced_limits(config, origin, draft),
        "cors" => cors(config, origin, draft),
        "ip-restriction" => addresses(config, origin, draft),
        "request-size-limiting" => body_size(config, origin, draft),
        "request-transformer" => transform("request", config, origin, draft),
        "response-transformer" => transform("response", config, origin, draft),
        "request-termination" => termination(config, origin, draft),
        name if TOKENS.contains(&name) => {
            draft.lose(
                origin,
                format!("{name} asks for tokens; make an issuer for them, and bind clients with jwtClients"),
            );
            Effect::Credential { word: "jwt", anonymous: anonymous(config) }
        }
        name if GUARDS.contains(&name) => {
            draft.lose(origin, format!("{name} has no counterpart; an API key or a token is asked for instead"));
            Effect::Guard
        }
        name if HARMLESS.contains(&name) => {
            draft.lose(origin, format!("{name} has no counterpart"));
            Effect::Nothing
        }
        name => {
            let message =
                format!("{name:?} is not known, and may keep callers out; an API key or a token is asked for instead");
            draft.lose(origin, message);
            Effect::Guard
        }
    }
}

fn key_auth(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    let names: Vec<&str> = texts(config, "key_names").collect();
    if names.is_empty() || names.iter().any(|name| !name.eq_ignore_ascii_case("x-api-key")) {
        draft.warn(origin, "clients send their key in the header X-API-Key");
    }
    Effect::Credential { word: "api_key", anonymous: anonymous(config) }
}

fn jwt(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    if text(config, "key_claim_name").is_some_and(|name| name != "iss") {
        draft.lose(format!("{origin}/config/key_claim_name"), "an issuer is told by the claim iss");
    }
    for (field, default) in [("uri_param_names", "jwt"), ("cookie_names", "")] {
        if texts(config, field).any(|name| name != default) {
            draft.lose(format!("{origin}/config/{field}"), "tokens are taken from the header Authorization alone");
        }
    }
    if number(config, "maximum_expiration").is_some_and(|seconds| seconds > 0) {
        draft.lose(format!("{origin}/config/maximum_expiration"), "has no counterpart");
    }
    Effect::Credential { word: "jwt", anonymous: anonymous(config) }
}

fn anonymous(config: &Value) -> Option<String> {
    text(config, "anonymous").map(str::to_owned)
}

fn groups(config: &Value) -> Effect {
    // As they were called before Kong 2.1.
    let list = |new: &str, old: &str| {
        let mut names: Vec<String> = texts(config, new).chain(texts(config, old)).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    };
    Effect::Groups { allow: list("allow", "whitelist"), deny: list("deny", "blacklist") }
}

fn limit(requests: u64, seconds: u64, by: &str, config: &Value) -> Value {
    let is_shared = text(config, "policy").or_else(|| text(config, "strategy")).is_some_and(|policy| policy != "local");
    let on_store_error = if flag(config, "fault_tolerant") == Some(false) { "deny" } else { "local" };
    json!({"requests": requests, "perSeconds": seconds, "by": by, "shared": is_shared, "onStoreError": on_store_error})
}

/// Whom it counts by; `None` for what has no counterpart.
fn by(name: &str) -> Option<&'static str> {
    Some(match name {
        "consumer" | "consumer-group" => "application",
        "credential" => "key",
        "ip" => "ip",
        "service" => "global",
        _ => return None,
    })
}

fn limits(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    const SPANS: [(&str, u64); 6] =
        [("second", 1), ("minute", 60), ("hour", 3600), ("day", 86_400), ("month", 2_592_000), ("year", 31_536_000)];
    let given = text(config, "limit_by").unwrap_or("consumer");
    let Some(by) = by(given) else {
        draft.lose(format!("{origin}/config/limit_by"), format!("requests can't be counted by {given}"));
        return Effect::Nothing;
    };
    let spans =
        SPANS.into_iter().filter_map(|(span, seconds)| Some((number(config, span).filter(|it| *it > 0)?, seconds)));
    Effect::Limits(spans.map(|(requests, seconds)| limit(requests, seconds, by, config)).collect())
}

fn advanced_limits(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    let given = text(config, "identifier").unwrap_or("consumer");
    let Some(by) = by(given) else {
        draft.lose(format!("{origin}/config/identifier"), format!("requests can't be counted by {given}"));
        return Effect::Nothing;
    };
    let windows = members(config, "limit").iter().zip(members(config, "window_size"));
    let windows = windows.filter_map(|(requests, seconds)| Some((requests.as_u64()?, seconds.as_u64()?)));
    Effect::Limits(windows.map(|(requests, seconds)| limit(requests, seconds, by, config)).collect())
}

fn cors(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    let mut origins = Vec::new();
    for (at, given) in texts(config, "origins").enumerate() {
        let is_plain =
            given == "*" || (given.contains("://") && !given.contains(['*', '\\', '(', '[', '^', '$', '|', '+']));
        if is_plain {
            origins.push(given.trim_end_matches('/').to_owned());
        } else {
            draft.lose(
                format!("{origin}/config/origins/{at}"),
                "origins are named one by one, as in https://shop.example",
            );
        }
    }
    if members(config, "origins").is_empty() {
        origins.push("*".to_owned());
    }
    let mut credentials = flag(config, "credentials") == Some(true);
    if credentials && origins.iter().any(|origin| origin == "*") {
        draft.lose(format!("{origin}/config/credentials"), "any site could act as the user; name the origins first");
        credentials = false;
    }
    if flag(config, "preflight_continue") == Some(true) {
        draft.lose(format!("{origin}/config/preflight_continue"), "preflights are answered by the gateway");
    }
    let list = |field: &str| texts(config, field).collect::<Vec<_>>();
    let mut cors = json!({
        "allowOrigins": origins,
        "allowMethods": list("methods"),
        "allowHeaders": list("headers"),
        "exposeHeaders": list("exposed_headers"),
        "allowCredentials": credentials,
    });
    if let Some(seconds) = number(config, "max_age") {
        cors["maxAgeSeconds"] = json!(seconds);
    }
    Effect::Cors(cors)
}

fn addresses(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    let mut is_whole = true;
    let mut list = |new: &str, old: &str| -> Vec<String> {
        let mut nets = Vec::new();
        for field in [new, old] {
            for (at, given) in texts(config, field).enumerate() {
                match network(given) {
                    Some(net) => nets.push(net),
                    None => {
                        is_whole = false;
                        draft.lose(format!("{origin}/config/{field}/{at}"), "is neither an address nor a network");
                    }
                }
            }
        }
        nets
    };
    let (allow, deny) = (list("allow", "whitelist"), list("deny", "blacklist"));
    if is_whole { Effect::Addresses { allow, deny } } else { Effect::Shut }
}

fn network(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let widest: u8 = if address.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(widest), |length| length.parse().ok().filter(|it| *it <= widest))?;
    Some(format!("{address}/{length}"))
}

fn body_size(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    if flag(config, "require_content_length") == Some(true) {
        draft.lose(
            format!("{origin}/config/require_content_length"),
            "has no counterpart; bodies are counted as they come",
        );
    }
    let unit: u64 = match text(config, "size_unit") {
        Some("bytes") => 1,
        Some("kilobytes") => 1 << 10,
        _ => 1 << 20,
    };
    Effect::BodySize(number(config, "allowed_payload_size").unwrap_or(128).saturating_mul(unit))
}

fn transform(side: &str, config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    let (mut set, mut add, mut remove) = (Map::new(), Map::new(), Vec::new());
    for (action, parts) in fields(config) {
        for (part, list) in fields(parts) {
            let place = format!("{origin}/config/{action}/{part}");
            let given: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if given.is_empty() {
                continue;
            }
            let pairs =
                given.iter().filter_map(|pair| pair.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
            let is_template = given.iter().any(|pair| pair.contains("$("));
            match (action, part) {
                _ if is_template => draft.lose(place, "templates have no counterpart"),
                ("remove", "headers") => remove.extend(given.iter().map(|name| (*name).to_owned())),
                ("append", "headers") => add.extend(pairs.map(|(name, value)| (name.to_owned(), json!(value)))),
                ("add", "headers") => {
                    draft.warn(place, "is set here also where the request has such a header already");
                    set.extend(pairs.map(|(name, value)| (name.to_owned(), json!(value))));
                }
                _ => draft.lose(place, "has no counterpart"),
            }
        }
    }
    if set.is_empty() && add.is_empty() && remove.is_empty() {
        return Effect::Nothing;
    }
    draft.warn(origin, "gateways of this version keep transforms, but do not act on them yet");
    Effect::Transform(json!({side: {"setHeaders": set, "addHeaders": add, "removeHeaders": remove}}))
}

fn termination(config: &Value, origin: &str, draft: &mut Draft) -> Effect {
    if text(config, "trigger").is_some() {
        draft.lose(format!("{origin}/config/trigger"), "an answer for some requests only has no counterpart");
        return Effect::Nothing;
    }
    let status = number(config, "status_code").unwrap_or(503);
    if !(200..=599).contains(&status) {
        draft.lose(format!("{origin}/config/status_code"), "is no status of an answer");
        return Effect::Shut;
    }
    Effect::Terminate(Termination {
        status,
        message: text(config, "message").map(str::to_owned),
        content_type: text(config, "content_type").unwrap_or("application/json; charset=utf-8").to_owned(),
        body: text(config, "body").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_networks_and_nothing_else_does() {
        assert_eq!(network("10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(network("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(network("2001:db8::/32").as_deref(), Some("2001:db8::/32"));
        for bad in ["", "10.0.0.0/33", "10.0.0.1-10.0.0.9", "x", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }
}
