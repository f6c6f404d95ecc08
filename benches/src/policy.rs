//! The gateway with everything that access can ask of a request: credentials, a whitelist, two limits that never refuse.

use std::net::SocketAddr;

use anyhow::bail;
use serde_json::json;

use crate::compare::Contender;
use crate::http;
use crate::load::Requests;
use crate::peer::{Peer, PeerName};
use crate::stack::Stack;
use crate::tokens::{CLIENT, ISSUER, Signer, Signing};

/// What requests carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// One API key, always the same.
    Key,
    /// One token, always the same.
    Jwt,
    /// Each time a token that the gateway has not seen or has forgotten.
    Fresh(Signing),
}

const APPLICATION: &str = "shop";
/// More a second than any machine sends.
const PLENTY: u32 = 1_000_000_000;

/// A peer that is asked for `path`, `requests` times in all. `None` with a line that says why, when it is not installed.
pub fn contender(name: PeerName, origin: SocketAddr, path: &str, requests: usize) -> anyhow::Result<Option<Contender>> {
    let Some(credential) = name.credential() else {
        let Some(peer) = Peer::start(name, origin)? else { return Ok(None) };
        let requests = match name {
            PeerName::BareTokens => {
                let lines = token_lines(&Signer::new(Signing::Hs256)?, requests)?;
                Requests::with_headers(peer.address, path, lines.iter().map(String::as_str))
            }
            _ => Requests::to_paths(peer.address, [path]),
        };
        return Ok(Some(Contender { peer, requests }));
    };
    let stack = Stack::start(None, origin, 0, 0)?;
    configure(&stack, origin)?;
    let lines = match credential {
        Credential::Key => vec![key_line(&stack.make_key(APPLICATION)?)],
        Credential::Jwt => signed(&stack, Signing::Rs256, 1)?,
        Credential::Fresh(signing) => signed(&stack, signing, requests)?,
    };
    let first = lines.first().map(String::as_str);
    let answer = http::send(stack.traffic, "GET", path, first, "")?;
    // Nobody must be measured who gets in without.
    let anonymous = http::send(stack.traffic, "GET", path, None, "")?;
    if (answer.status, anonymous.status) != (200, 401) {
        bail!(
            "the gateway answers {} with credentials and {} without: {}",
            answer.status,
            anonymous.status,
            answer.body
        );
    }
    let label = format!("gateway {}", label(credential));
    let requests = Requests::with_headers(stack.traffic, path, lines.iter().map(String::as_str));
    Ok(Some(Contender { peer: Peer::of_stack(label, stack), requests }))
}

fn label(credential: Credential) -> &'static str {
    match credential {
        Credential::Key => "key",
        Credential::Jwt => "jwt",
        Credential::Fresh(Signing::Hs256) => "hs256",
        Credential::Fresh(Signing::Rs256) => "rs256",
        Credential::Fresh(Signing::Es256) => "es256",
    }
}

#[must_use]
pub fn key_line(key: &str) -> String {
    format!("x-api-key: {key}")
}

/// One application that may call everything, by the last of ten entries.
pub fn configure(stack: &Stack, origin: SocketAddr) -> anyhow::Result<()> {
    let limit = |by: &str| json!([{"requests": PLENTY, "perSeconds": 1, "by": by}]);
    stack.put("/routing/services/origin", &json!({"defaultUrl": format!("http://{origin}")}))?;
    let route = json!({"path": "/{*rest}", "target": {"service": "origin"}, "limits": limit("ip")});
    stack.put("/routing/routes/everything", &route)?;
    let paths = (0..9).map(|number| format!("/area-{number}/{{*rest}}")).chain(["/{size}".to_owned()]);
    let entry =
        |path: String| json!({"endpointPath": path, "allowedMethods": ["GET", "POST"], "allowedVersions": ["*"]});
    let application = json!({
        "allowedServices": ["origin"], "allowedVersions": ["*"], "limits": limit("application"),
        "whitelist": paths.map(entry).collect::<Vec<_>>(),
    });
    stack.put(&format!("/access/applications/{APPLICATION}?wait=5s"), &application)?;
    Ok(())
}

/// Further keys of the application that [`configure`] makes.
pub fn make_keys(stack: &Stack, count: usize) -> anyhow::Result<Vec<String>> {
    (0..count).map(|_| stack.make_key(APPLICATION)).collect()
}

fn signed(stack: &Stack, signing: Signing, requests: usize) -> anyhow::Result<Vec<String>> {
    let signer = Signer::new(signing)?;
    stack.put(&format!("/access/issuers/{ISSUER}"), &signer.issuer())?;
    let path = format!("/access/applications/{APPLICATION}?wait=5s");
    let mut application = stack.ask("GET", path.trim_end_matches("?wait=5s"), &json!(null))?.json()?;
    application["jwtClients"] = json!([{"issuer": ISSUER, "clientId": CLIENT}]);
    stack.put(&path, &application)?;
    token_lines(&signer, requests)
}

fn token_lines(signer: &Signer, requests: usize) -> anyhow::Result<Vec<String>> {
    let line = |token: String| format!("authorization: Bearer {token}");
    Ok(signer.pool(requests)?.into_iter().map(line).collect())
}
