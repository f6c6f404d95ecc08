//! Security requirements as our access rules. What can't be said exactly is made stricter, never looser, and told of.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::draft::Draft;
use super::super::foreign::{fields, text};
use super::reference::resolve;

/// Who may call an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) is_public: bool,
    api_key: bool,
    jwt: bool,
    scopes: BTreeSet<String>,
}

/// What one scheme asks for.
enum Scheme {
    ApiKey,
    Token { scoped: bool },
    Other,
}

/// One way to be let in.
struct Alternative {
    is_token: bool,
    scopes: BTreeSet<String>,
}

impl Access {
    const PUBLIC: Self = Self { is_public: true, api_key: false, jwt: false, scopes: BTreeSet::new() };
    const USUAL: Self = Self { is_public: false, api_key: true, jwt: true, scopes: BTreeSet::new() };

    pub(super) fn to_json(&self) -> Value {
        let words = [(self.api_key, "api_key"), (self.jwt, "jwt"), (self.is_public, "public")];
        let any_of: Vec<&str> = words.into_iter().filter(|(given, _)| *given).map(|(_, word)| word).collect();
        if self.scopes.is_empty() { json!({"anyOf": any_of}) } else { json!({"anyOf": any_of, "scopes": self.scopes}) }
    }
}

/// Of a `security` list; `origin` is its place.
pub(super) fn access(root: &Value, security: Option<&Value>, origin: &str, draft: &mut Draft) -> Access {
    let Some(security) = security.filter(|it| !it.is_null()) else { return Access::PUBLIC };
    let Some(list) = security.as_array() else {
        draft.lose(origin, "is not a list; an API key or a token is asked for");
        return Access::USUAL;
    };
    let mut alternatives = Vec::new();
    let mut is_public = list.is_empty();
    for (at, requirement) in list.iter().enumerate() {
        match requirement.as_object() {
            Some(schemes) if schemes.is_empty() => is_public = true,
            _ => alternatives.extend(alternative(root, requirement, &format!("{origin}/{at}"), draft)),
        }
    }
    if is_public {
        let (tokens, keys) = (alternatives.iter().any(|it| it.is_token), alternatives.iter().any(|it| !it.is_token));
        return Access { is_public, api_key: keys, jwt: tokens, scopes: BTreeSet::new() };
    }
    if alternatives.is_empty() {
        return Access::USUAL;
    }
    strictest(&alternatives, origin, draft)
}

/// A route asks all its callers for the same scopes.
fn strictest(alternatives: &[Alternative], origin: &str, draft: &mut Draft) -> Access {
    let scopes: BTreeSet<String> = alternatives.iter().flat_map(|it| it.scopes.iter().cloned()).collect();
    let is_scoped = |it: &&Alternative| scopes.is_empty() || !it.scopes.is_empty();
    if alternatives.iter().any(|it| !is_scoped(&it)) {
        draft.lose(origin, "some of the alternatives ask for no scopes; only those that do let a caller in here");
    } else if alternatives.iter().any(|it| it.scopes != scopes) {
        draft.lose(origin, "the alternatives ask for different scopes; here a caller needs all of them");
    }
    let mut kept = alternatives.iter().filter(is_scoped);
    let (jwt, api_key) = (kept.clone().any(|it| it.is_token), kept.any(|it| !it.is_token));
    Access { is_public: false, api_key, jwt, scopes }
}

/// `None` when none of its schemes has a counterpart.
fn alternative(root: &Value, requirement: &Value, origin: &str, draft: &mut Draft) -> Option<Alternative> {
    let mut found: Option<Alternative> = None;
    let mut schemes = 0;
    for (name, asked) in fields(requirement) {
        schemes += 1;
        let asked: BTreeSet<String> =
            asked.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        match scheme(root, name, draft) {
            Scheme::ApiKey => {
                found.get_or_insert(Alternative { is_token: false, scopes: BTreeSet::new() });
            }
            Scheme::Token { scoped } => {
                let found = found.get_or_insert(Alternative { is_token: true, scopes: BTreeSet::new() });
                found.is_token = true;
                if scoped {
                    found.scopes.extend(asked);
                } else if !asked.is_empty() {
                    draft.lose(format!("{origin}/{name}"), "roles of a bearer token are not asked for");
                }
            }
            Scheme::Other => {}
        }
    }
    if schemes > 1 {
        draft.lose(
            origin,
            "asks for several credentials together; here one of them is asked for, a token if there is one",
        );
    }
    found
}

fn scheme(root: &Value, name: &str, draft: &mut Draft) -> Scheme {
    let origin = format!("components/securitySchemes/{name}");
    let declared = root.get("components").and_then(|it| it.get("securitySchemes")?.get(name));
    let Some(declared) = declared else {
        draft.lose(origin, "is asked for, but not declared; an API key or a token is asked for instead");
        return Scheme::Other;
    };
    let declared = match resolve(root, declared) {
        Ok(declared) => declared,
        Err(why) => {
            draft.lose(origin, why);
            return Scheme::Other;
        }
    };
    let kind = text(declared, "type").unwrap_or_default();
    match (kind, text(declared, "scheme").unwrap_or_default().to_ascii_lowercase().as_str()) {
        ("apiKey", _) => {
            let (place, field) = (text(declared, "in").unwrap_or("?"), text(declared, "name").unwrap_or("?"));
            if place != "header" || !field.eq_ignore_ascii_case("x-api-key") {
                draft.warn(
                    origin,
                    format!("clients send the key in the header X-API-Key, not in the {place} \"{field}\""),
                );
            }
            Scheme::ApiKey
        }
        ("oauth2" | "openIdConnect", _) | ("http", "bearer") => {
            let discovery = text(declared, "openIdConnectUrl").map(|url| format!("; {url} names its keys"));
            let message = "make an issuer for these tokens, and bind clients to applications with jwtClients";
            draft.lose(origin, format!("{message}{}", discovery.unwrap_or_default()));
            Scheme::Token { scoped: kind != "http" }
        }
        (_, scheme) => {
            let what = [kind, scheme].join(" ");
            let what = what.trim();
            draft.lose(origin, format!("{what} has no counterpart; an API key or a token is asked for instead"));
            Scheme::Other
        }
    }
}
