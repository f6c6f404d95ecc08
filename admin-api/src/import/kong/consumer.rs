//! Consumers as applications, and what they may use.

use std::collections::BTreeSet;

use gateway_config::model::{Kind, Problem};
use serde_json::{Map, Value, json};

use super::super::draft::Draft;
use super::super::foreign::{flag, text};
use super::plugin::Effect;
use super::route::Groups;
use super::world::{Found, Scope, World};

const KNOWN: [&str; 9] =
    ["id", "username", "custom_id", "tags", "created_at", "updated_at", "plugins", "acls", "groups"];

/// A service that only certain consumers may use.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) service: String,
    pub(super) groups: Groups,
}

pub(super) fn add(world: &World, at: usize, offers: &[Offer], draft: &mut Draft) -> Result<(), Vec<Problem>> {
    let Some(consumer) = world.consumers.get(at) else { return Ok(()) };
    let known: Vec<&str> = KNOWN.into_iter().chain(["keyauth_credentials", "jwt_secrets"]).collect();
    draft.lose_unknown(consumer.value, &consumer.origin, &known);
    let wanted = ["username", "custom_id", "id"].into_iter().find_map(|field| text(consumer.value, field));
    let wanted = wanted.unwrap_or_default();
    let name = draft.name(Kind::Application, wanted);
    if name != wanted {
        draft.warn(&consumer.origin, format!("is called \"{name}\" here"));
    }
    let credentials = world.credentials.get(&at).map(Vec::as_slice).unwrap_or_default();
    let groups = groups(credentials);
    let offered = offers.iter().filter(|offer| may_use(&groups, &offer.groups));
    let services: Vec<&str> = offered.map(|offer| offer.service.as_str()).collect();
    let mut application = Map::new();
    let described = text(consumer.value, "custom_id").map(|id| format!("custom_id {id}"));
    application.insert("description".to_owned(), json!(described.unwrap_or_default()));
    if !services.is_empty() {
        let everything = json!([{"endpointPath": "/{*rest}", "allowedMethods": ["*"], "allowedVersions": ["*"]}]);
        application.insert("whitelist".to_owned(), everything);
    }
    application.insert("allowedServices".to_owned(), json!(services));
    application.insert("allowedVersions".to_owned(), json!(["*"]));
    let mut clients = Vec::new();
    for (section, credential) in credentials {
        match *section {
            "keyauth_credentials" => {
                draft.lose(
                    &credential.origin,
                    "keys can't be carried over, for only hashes are kept; make the application a new one",
                );
            }
            "jwt_secrets" => clients.extend(issuer(&name, credential, draft)?),
            _ => {}
        }
    }
    if !clients.is_empty() {
        application.insert("jwtClients".to_owned(), json!(clients));
    }
    policies(world, at, &mut application, draft);
    draft.add(Kind::Application, name, &consumer.origin, Value::Object(application))
}

fn groups<'v>(credentials: &[(&'static str, Found<'v>)]) -> BTreeSet<&'v str> {
    let acls = credentials.iter().filter(|(section, _)| *section == "acls");
    acls.filter_map(|(_, acl)| text(acl.value, "group")).collect()
}

fn may_use(own: &BTreeSet<&str>, groups: &Groups) -> bool {
    let Some((allow, deny)) = groups else { return true };
    let is_in = |names: &[String]| names.iter().any(|name| own.contains(name.as_str()));
    (allow.is_empty() || is_in(allow)) && !is_in(deny)
}

/// An issuer for a consumer's tokens, which name it in `iss`; answers what binds them to the application.
fn issuer(application: &str, credential: &Found, draft: &mut Draft) -> Result<Option<Value>, Vec<Problem>> {
    let (value, origin) = (credential.value, &credential.origin);
    let Some(key) = text(value, "key") else {
        draft.lose(origin, "has no key, which Kong makes itself; it is what tokens name as iss");
        return Ok(None);
    };
    let algorithm = text(value, "algorithm").unwrap_or("HS256");
    let mut issuer = json!({"issuer": key, "algorithms": [algorithm], "claims": {"client": "/iss"}});
    let name = draft.name(Kind::Issuer, application);
    if algorithm.starts_with("HS") {
        let variable = format!("GATEWAY_SECRET_JWT_{}", name.to_ascii_uppercase().replace('-', "_"));
        draft.lose(origin, format!("secrets are not stored: give it to the gateways as {variable}"));
        issuer["secret"] = json!(format!("env:{variable}"));
        if flag(value, "secret_is_base64") == Some(true) {
            draft.lose(format!("{origin}/secret_is_base64"), "give the gateways the decoded secret");
        }
    } else {
        issuer["publicKeyPem"] = json!(text(value, "rsa_public_key").unwrap_or_default());
    }
    draft.add(Kind::Issuer, name.clone(), origin, issuer)?;
    Ok(Some(json!({"issuer": name, "clientId": key})))
}

fn policies(world: &World, at: usize, application: &mut Map<String, Value>, draft: &mut Draft) {
    for plugin in world.plugins_at(Scope::Consumer(at)) {
        match &plugin.effect {
            Effect::Limits(limits) => {
                application.insert("limits".to_owned(), json!(limits));
                draft.warn(&plugin.origin, "counts beside the limits of routes; in Kong it stands in their place");
            }
            Effect::Addresses { allow, deny } => {
                application.insert("ipAllow".to_owned(), json!(allow));
                application.insert("ipDeny".to_owned(), json!(deny));
            }
            Effect::Terminate(_) | Effect::Shut => {
                application.insert("isActive".to_owned(), json!(false));
                draft.lose(&plugin.origin, "the application is left inactive instead");
            }
            Effect::Nothing => {}
            _ => draft.lose(&plugin.origin, "has no counterpart for one consumer"),
        }
    }
}
