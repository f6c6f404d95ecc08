//! Checks of what entities hold that are not services or routes, and of the parts that several entities share.

use super::certificate;
use super::problems::Problems;
use crate::model::{
    Application, Broker, Certificate, DEFAULTS_NAME, Defaults, Item, JwtAlgorithm, JwtIssuer, Limit, Queue, Timeouts,
    host,
};

pub(super) fn item(item: &Item, problems: &mut Problems) {
    match item {
        // These compile to something; they are checked where they do.
        Item::Service(_) | Item::Route(_) | Item::Defaults(_) => {}
        Item::Queue(it) => queue(it, problems),
        Item::Application(it) => application(it, problems),
        Item::Issuer(it) => issuer(it, problems),
        Item::Certificate(it) => certificate(it, problems),
    }
}

/// The rule for names that appear in URLs and metrics.
pub(super) fn name(name: &str, problems: &mut Problems) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let dots = name == "." || name == "..";
    if !(1..=128).contains(&name.len()) || !name.bytes().all(plain) || dots {
        problems.add("name", format!("\"{name}\" is not 1 to 128 letters, digits and -._"));
    }
}

pub(super) fn timeouts(timeouts: &Timeouts, problems: &mut Problems) {
    let Timeouts { connect_ms, read_ms, write_ms, total_ms } = timeouts;
    for (field, value) in [("connectMs", connect_ms), ("readMs", read_ms), ("writeMs", write_ms), ("totalMs", total_ms)]
    {
        if *value == Some(0) {
            problems.add(&format!("timeouts/{field}"), "must be at least 1; leave it out for the default");
        }
    }
}

pub(super) fn limits(limits: &[Limit], problems: &mut Problems) {
    for (at, limit) in limits.iter().enumerate() {
        if limit.requests == 0 || limit.per_seconds == 0 {
            problems.add(&at.to_string(), "requests and perSeconds must be at least 1");
        }
        if limit.burst == Some(0) {
            problems.add(&format!("{at}/burst"), "must be at least 1");
        }
    }
}

/// What the gateway could count, but no database keep.
pub(super) fn body_size(field: &str, bytes: u64, problems: &mut Problems) {
    if i64::try_from(bytes).is_err() {
        problems.add(field, "is too large a number to be stored");
    }
}

fn queue(queue: &Queue, problems: &mut Problems) {
    name(&queue.name, problems);
    body_size("maxBodyBytes", queue.max_body_bytes.unwrap_or_default(), problems);
    let to = &queue.destination;
    let fields = [
        ("exchange", to.exchange.is_some(), queue.broker == Broker::Rabbitmq),
        ("routingKey", to.routing_key.is_some(), queue.broker == Broker::Rabbitmq),
        ("stream", to.stream.is_some(), queue.broker == Broker::Redis),
        ("topic", to.topic.is_some(), queue.broker == Broker::Kafka),
        ("deliverTo", to.deliver_to.is_some(), queue.broker == Broker::Embedded),
    ];
    for (field, given, wanted) in fields {
        if given != wanted {
            let word = if wanted { "is needed by" } else { "means nothing to" };
            problems.add(&format!("destination/{field}"), format!("{word} the queue's broker"));
        }
    }
    if to.key_from.is_some() && queue.broker != Broker::Kafka {
        problems.add("destination/keyFrom", "means nothing to the queue's broker");
    }
    if let Some(url) = &to.deliver_to
        && let Err(why) = super::upstream::UpstreamUrl::parse(url)
    {
        problems.add("destination/deliverTo", why);
    }
    if queue.confirm_timeout_ms == 0 || queue.concurrency == 0 || queue.max_attempts == 0 {
        problems.add("", "confirmTimeoutMs, concurrency and maxAttempts must be at least 1");
    }
}

/// The rest of it is checked where it compiles.
fn application(application: &Application, problems: &mut Problems) {
    for (at, client) in application.jwt_clients.iter().enumerate() {
        if client.issuer.is_empty() || client.client_id.is_empty() {
            problems.add(&format!("jwtClients/{at}"), "name an issuer and a clientId");
        }
    }
    for (at, name) in application.callback_hosts.iter().enumerate() {
        if !host::is_host_name(name.strip_prefix("*.").unwrap_or(name)) {
            problems.add(&format!("callbackHosts/{at}"), format!("\"{name}\" is not a host name"));
        }
    }
}

fn issuer(issuer: &JwtIssuer, problems: &mut Problems) {
    name(&issuer.name, problems);
    if issuer.issuer.is_empty() {
        problems.add("issuer", "is empty: it must be the exact iss of the tokens");
    }
    if issuer.issuer.chars().any(char::is_control) {
        problems.add("issuer", "holds a control character");
    }
    let sources = [issuer.secret.is_some(), issuer.public_key_pem.is_some(), issuer.jwks_url.is_some()];
    let keys = sources.into_iter().filter(|given| *given).count();
    if keys > 1 || (keys == 0 && issuer.introspection_url.is_none()) {
        problems.add("", "give one of secret, publicKeyPem, jwksUrl, or an introspectionUrl");
    }
    if keys == 1 && issuer.algorithms.is_empty() {
        problems.add("algorithms", "name the algorithms that its tokens are signed with");
    }
    let symmetric = |it: &JwtAlgorithm| matches!(it, JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512);
    // A public key used as an HMAC secret is the oldest forgery there is.
    if issuer.algorithms.iter().any(|algorithm| symmetric(algorithm) != issuer.secret.is_some()) {
        problems.add("algorithms", "HS* goes with a secret, all others with a public key or a jwksUrl");
    }
    for (field, url) in [("jwksUrl", &issuer.jwks_url), ("introspectionUrl", &issuer.introspection_url)] {
        let sound = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if url.as_ref().is_some_and(|url| !sound(url) || url.parse::<http::Uri>().is_err()) {
            problems.add(field, "is not an http(s) URL");
        }
        let authority = url.as_deref().and_then(|url| url.split("://").nth(1)).and_then(|rest| rest.split('/').next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            problems.add(field, "names a user or a password, which can't be stored: use clientId and clientSecret");
        }
    }
    if issuer.public_key_pem.as_ref().is_some_and(|pem| pem.contains("PRIVATE KEY") || !pem.contains("-----BEGIN ")) {
        // It is not repeated: it may be the secret itself.
        problems.add("publicKeyPem", "holds no PEM public key");
    }
    let claims = &issuer.claims;
    for (field, pointer) in
        [("subject", &claims.subject), ("roles", &claims.roles), ("scopes", &claims.scopes), ("client", &claims.client)]
    {
        if !pointer.starts_with('/') {
            problems.add(&format!("claims/{field}"), format!("\"{pointer}\" is not a JSON pointer like /sub"));
        }
    }
}

/// Its PEM is checked where it compiles.
fn certificate(certificate: &Certificate, problems: &mut Problems) {
    name(&certificate.name, problems);
    if certificate.hosts.is_empty() {
        problems.add("hosts", "name at least one host");
    }
    for (at, name) in certificate.hosts.iter().enumerate() {
        if !certificate::is_host(name) {
            problems.add(&format!("hosts/{at}"), format!("\"{name}\" is not a host name"));
        }
    }
}

pub(super) fn defaults(defaults: &Defaults, problems: &mut Problems) {
    if defaults.name != DEFAULTS_NAME {
        problems.add("name", "there is one row of defaults, and it is called \"defaults\"");
    }
    body_size("maxBodyBytes", defaults.max_body_bytes, problems);
    problems.within("limits", |problems| limits(&defaults.limits, problems));
    if defaults.max_header_bytes < 1024 || defaults.max_uri_bytes < 256 {
        problems.add("", "maxHeaderBytes must be at least 1024 and maxUriBytes at least 256");
    }
}
