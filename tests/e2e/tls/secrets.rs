//! Private keys: where they come from, what is done without one, and that they stay where they are.

use std::sync::Arc;

use e2e::{Backend, Database, PostgresCluster, Request, eventually};

use super::{HOST, Secure, UNREADY, refused};

#[tokio::test]
async fn a_key_that_is_missing_or_another_ones_closes_its_hosts_until_it_is_right() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let (issued, other) = (secure.authority.issue(&[HOST]), secure.authority.issue(&[HOST]));
    // The certificate for all others is not for these.
    secure.put("rest", &["*"], &other).await;
    secure.stack.put(&[issued.entity("shop", &[HOST], "file:shop.key")]).await;
    assert_eq!(secure.shows(HOST, &issued).await, refused(UNREADY));
    secure.until_degraded("certificate", Some("certificate \"shop\" has a key that can't be read")).await;
    let missing = "file:shop.key: there is no such file in the secrets directory";
    secure.until_degraded("secret_missing", Some(missing)).await;

    secure.keep("shop.key", &other.key);
    let detail = "certificate \"shop\" has a private key that is not its own";
    secure.until_degraded("certificate", Some(detail)).await;
    secure.until_degraded("secret_missing", None).await;
    assert_eq!(secure.shows(HOST, &issued).await, refused(UNREADY));
    eventually("the fleet to be told", async || {
        let node = secure.node().await;
        if node["degraded"].to_string().contains("that is not its own") { Ok(()) } else { Err(node.to_string()) }
    })
    .await;

    secure.keep("shop.key", "no key at all");
    let detail = "certificate \"shop\" has a key that is no private key in PEM, or one under a password";
    secure.until_degraded("certificate", Some(detail)).await;

    secure.keep("shop.key", &issued.key);
    secure.until_degraded("certificate", None).await;
    assert_eq!(secure.shows(HOST, &issued).await, Ok(true));
}

#[tokio::test]
async fn a_key_that_is_taken_away_closes_its_hosts() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let issued = secure.authority.issue(&[HOST]);
    secure.keep("shop.key", &issued.key);
    secure.stack.put(&[issued.entity("shop", &[HOST], "file:shop.key")]).await;
    assert_eq!(secure.shows(HOST, &issued).await, Ok(true));
    std::fs::remove_file(secure.secrets.path().join("shop.key")).unwrap();
    eventually("handshakes to be refused", async || match secure.shows(HOST, &issued).await {
        Err(error) if error == UNREADY => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

#[tokio::test]
async fn a_key_comes_from_the_environment_too_and_nothing_shows_it() {
    let backend = Backend::saying("hello");
    let authority = e2e::Authority::new();
    let issued = authority.issue(&[HOST]);
    let settings = [("GATEWAY_SECRET_SHOP", issued.key.as_str()), ("RUST_LOG", "debug")];
    let mut secure = Secure::with(&backend, &settings, Database::usual().await).await;
    secure.authority = authority;
    secure.stack.put(&[issued.entity("shop", &[HOST], "env:GATEWAY_SECRET_SHOP")]).await;
    assert_eq!(secure.shows(HOST, &issued).await, Ok(true));

    let gateway = secure.stack.gateway(0);
    let served = gateway.generation().await.to_string();
    let file = gateway.data().join("snapshot.json");
    let snapshot = eventually("the certificate in the snapshot on disk", async || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        if text.contains("env:GATEWAY_SECRET_SHOP") { Ok(text) } else { Err(format!("not yet {served}")) }
    })
    .await;
    let mut places = vec![("the snapshot on disk", snapshot)];
    for path in ["/status", "/metrics"] {
        places.push((path, gateway.ops(path).await.text()));
    }
    for path in ["/admin/config/export", "/admin/edge/certificates", "/admin/audit", "/admin/nodes"] {
        places.push((path, secure.stack.admin().get(path).await.text()));
    }
    places.push(("the log", gateway.process().lines().into_iter().map(|line| line.text).collect()));
    let canary = issued.key.lines().nth(1).unwrap();
    for (place, text) in places {
        assert!(!text.contains(canary) && !text.contains("PRIVATE KEY"), "{place} shows the key: {text}");
    }
}

#[tokio::test]
async fn a_gateway_started_without_its_database_shakes_hands() {
    let cluster = Arc::new(PostgresCluster::start().await);
    let backend = Backend::saying("hello");
    let mut secure = Secure::with(&backend, &[], Database::on(&cluster).await).await;
    let issued = secure.authority.issue(&[HOST]);
    secure.put("shop", &[HOST], &issued).await;
    let file = secure.stack.gateway(0).data().join("snapshot.json");
    eventually("the certificate in the snapshot on disk", async || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.contains("BEGIN CERTIFICATE") { Ok(()) } else { Err("not yet") }
    })
    .await;
    cluster.stop_hard().await;
    secure.stack.gateway_mut(0).restart_hard().await;
    secure.stack.gateway(0).wait_ready().await;
    assert_eq!(secure.shows(HOST, &issued).await, Ok(true));
    let address = secure.stack.gateway(0).tls_address();
    let mut connection = secure.authority.client().connect(address, HOST).await.unwrap();
    connection.send(&Request::get("/")).await.unwrap().expect_status(200);
}
