//! Certificates come, change and go while traffic flows.

use e2e::{Backend, Request, certificate};
use serde_json::json;

use super::{HOST, Secure, UNKNOWN, refused};

#[tokio::test]
async fn a_certificate_counts_once_its_change_is_answered_and_no_longer_than_it_exists() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let issued = secure.authority.issue(&[HOST]);
    assert_eq!(secure.shows(HOST, &issued).await, refused(UNKNOWN));

    secure.put("shop", &[HOST], &issued).await;
    assert_eq!(secure.shows(HOST, &issued).await, Ok(true));
    let address = secure.stack.gateway(0).tls_address();
    let mut connection = secure.authority.client().connect(address, HOST).await.unwrap();
    connection.send(&Request::get("/")).await.unwrap().expect_status(200);

    secure.stack.admin().delete("/admin/edge/certificates/shop?wait=10s").await.expect_status(204);
    assert_eq!(secure.shows(HOST, &issued).await, refused(UNKNOWN));
    connection.send(&Request::get("/")).await.expect("what is connected stays").expect_status(200);
}

#[tokio::test]
async fn a_replaced_certificate_is_shown_to_new_clients_and_open_connections_live_on() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let (old, new) = (secure.authority.issue(&[HOST]), secure.authority.issue(&[HOST]));
    secure.put("shop", &[HOST], &old).await;
    assert_eq!(secure.shows(HOST, &old).await, Ok(true));
    let (address, client) = (secure.stack.gateway(0).tls_address(), secure.authority.client());
    let mut http1 = client.connect(address, HOST).await.unwrap();
    let http2 = client.http2(address, HOST).await.unwrap();
    for _ in 0..2 {
        http1.send(&Request::get("/")).await.unwrap().expect_status(200);
        http2.send(&Request::get("/")).await.expect_status(200);
        secure.put("shop", &[HOST], &new).await;
        assert_eq!(secure.shows(HOST, &new).await, Ok(true));
    }
}

#[tokio::test]
async fn the_most_specific_certificate_is_shown_and_the_rest_get_one_only_where_one_is_for_all() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let exact = secure.authority.issue(&["a.shop.test"]);
    let wildcard = secure.authority.issue(&["*.shop.test"]);
    let rest = secure.authority.issue(&["elsewhere.test", "x.b.shop.test"]);
    secure.put("wildcard", &["*.shop.test"], &wildcard).await;
    secure.put("exact", &["a.shop.test"], &exact).await;
    assert_eq!(secure.shows("a.shop.test", &exact).await, Ok(true));
    assert_eq!(secure.shows("A.Shop.Test", &exact).await, Ok(true));
    assert_eq!(secure.shows("b.shop.test", &wildcard).await, Ok(true));
    let address = secure.stack.gateway(0).tls_address();
    let nameless = secure.authority.client().nameless();
    for host in ["x.b.shop.test", "elsewhere.test"] {
        assert_eq!(secure.shows(host, &wildcard).await, refused(UNKNOWN), "{host}");
        assert_eq!(nameless.shake_hands(address, host).await.unwrap_err().to_string(), UNKNOWN);
    }

    secure.put("rest", &["*"], &rest).await;
    for host in ["x.b.shop.test", "elsewhere.test"] {
        assert_eq!(secure.shows(host, &rest).await, Ok(true), "{host}");
        nameless.shake_hands(address, host).await.unwrap();
    }
    assert_eq!(secure.shows("b.shop.test", &wildcard).await, Ok(true));
}

#[tokio::test]
async fn what_can_not_be_served_is_refused_with_its_place() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let (issued, admin) = (secure.authority.issue(&[HOST]), secure.stack.admin());
    let put = async |body: e2e::Entity| admin.put(&body.path(), &body.json()).await;
    let sound = |name: &str| issued.entity(name, &[HOST], "file:shop.key");
    let with_key = format!("{}{}", issued.certificate, issued.key);
    let cut = issued.certificate.replace("-----END", "");
    for (pem, why) in [
        (cut.as_str(), "block 1 is no sound PEM: it is cut off, or not base64"),
        (with_key.as_str(), "holds a private key, which is not stored: name it in privateKey by a reference"),
        ("no PEM", "holds no PEM certificate"),
    ] {
        let answer = put(sound("shop").set("certificatePem", pem)).await.expect_status(422);
        let problems = json!([{"path": "certificates/shop/certificatePem", "message": why}]);
        assert_eq!(answer.json()["problems"], problems, "{answer}");
        assert!(!answer.text().contains(issued.key.lines().nth(1).unwrap()));
    }
    let literal = put(sound("shop").set("privateKey", issued.key.as_str())).await.expect_status(422);
    assert_eq!(literal.json()["problems"][0]["path"], "certificates/shop/privateKey", "{literal}");

    put(sound("shop")).await.expect_status(201);
    let twice = put(sound("other")).await.expect_status(422).json();
    assert_eq!(twice["problems"][0]["path"], "certificates/other/hosts/0", "{twice}");
    assert!(twice["problems"][0]["message"].as_str().unwrap().contains("certificate \"shop\" lists"), "{twice}");
    put(certificate("shop").set("hosts", json!([HOST]))).await.expect_status(422);
}

#[tokio::test]
async fn a_host_that_the_certificate_does_not_name_is_warned_of() {
    let backend = Backend::saying("hello");
    let secure = Secure::before(&backend).await;
    let entity = secure.authority.issue(&[HOST]).entity("shop", &[HOST, "other.test"], "file:shop.key");
    let change = json!({"changes": [{"op": "put", "kind": "certificate", "name": "shop", "value": entity.json()}]});
    let answer = secure.stack.admin().post("/admin/config/validate", &change).await.expect_status(200).json();
    assert_eq!(answer["warnings"][0]["path"], "certificates/shop/hosts/1", "{answer}");
}

#[tokio::test]
async fn when_a_certificate_runs_out_is_seen_before_and_after() {
    let backend = Backend::saying("hello");
    let secure = Secure::with_host(&backend, &[]).await;
    let gateway = secure.stack.gateway(0);
    let expiry = async |name: &str| {
        let label = format!("certificate=\"{name}\"");
        gateway.metric("gatehouse_certificate_expiry_timestamp_seconds", &[&label]).await
    };
    assert!(expiry("shop").await.unwrap() > 4_000_000_000.0);
    secure.until_degraded("certificate", None).await;

    let old = secure.authority.issue_with(&["old.test"], |params| {
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 2);
    });
    secure.put("old", &["old.test"], &old).await;
    assert_eq!(expiry("old").await, Some(86_400.0));
    let detail = "certificate \"old\" expired at 1970-01-02T00:00:00Z";
    secure.until_degraded("certificate", Some(detail)).await;
    assert_eq!(gateway.ops("/readyz").await.status, 200);

    secure.stack.admin().delete("/admin/edge/certificates/old?wait=10s").await.expect_status(204);
    assert_eq!(expiry("old").await, None);
    secure.until_degraded("certificate", None).await;
}
