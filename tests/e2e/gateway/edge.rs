//! What holds at the edge before and around every request: addresses, sizes, other sites, headers of answers, screening.

use e2e::wire::Framing;
use e2e::{Answer, Backend, Entity, Reply, Request, Stack, route};
use serde_json::json;

use super::{echoing, echoing_with};

fn open_route() -> Entity {
    route("all").pattern("/{*rest}").to_service("echo").public()
}

async fn refused(stack: &Stack, request: &Request, status: u16, code: &str) -> Answer {
    let answer = stack.gateway(0).send(request).await.expect_status(status);
    assert_eq!(answer.code(), Some(code), "{answer}");
    assert_eq!(answer.json()["code"], code, "{answer}");
    answer
}

async fn set_defaults(stack: &Stack, defaults: serde_json::Value) {
    stack.admin().patch("/admin/edge/defaults?wait=10s", &defaults).await.expect_status(200);
}

#[tokio::test]
async fn addresses_are_denied_for_the_fleet_and_for_a_route() {
    let backend = Backend::echo();
    let inner = route("inner").pattern("/inner").to_service("echo").public().set("ipAllow", json!(["10.0.0.0/8"]));
    let stack = echoing(&backend, &[open_route(), inner]).await;
    stack.gateway(0).get("/").await.expect_status(200);
    refused(&stack, &Request::get("/inner"), 403, "ip_denied").await;
    set_defaults(&stack, json!({"ipDeny": ["127.0.0.0/8"]})).await;
    refused(&stack, &Request::get("/"), 403, "ip_denied").await;
    // Whoever is kept out does not learn what there is.
    refused(&stack, &Request::get("/.well-known/gateway/jwks.json"), 403, "ip_denied").await;
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn only_trusted_proxies_may_say_who_a_client_is() {
    let backend = Backend::echo();
    let rule = json!(["6.6.6.6/32"]);
    let routes = [open_route().set("ipDeny", rule)];
    let claim = || Request::get("/").header("X-Forwarded-For", "6.6.6.6").header("X-Forwarded-Proto", "https");

    let stack = echoing(&backend, &routes).await;
    let answer = stack.gateway(0).send(&claim()).await.expect_status(200);
    assert!(!answer.text().contains("6.6.6.6"), "{answer}");

    let trusting = echoing_with(&backend, &routes, &[("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")]).await;
    refused(&trusting, &claim(), 403, "ip_denied").await;
    let further = Request::get("/").header("X-Forwarded-For", "6.6.6.6, 7.7.7.7, 10.0.0.1");
    let answer = trusting.gateway(0).send(&further).await.expect_status(200);
    assert!(answer.text().contains("6.6.6.6, 7.7.7.7, 10.0.0.1, 127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn long_targets_and_large_headers_are_refused_in_the_usual_shape() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[open_route()]).await;
    let long = format!("/{}", "a".repeat(9000));
    refused(&stack, &Request::get(&long), 414, "uri_too_long").await;
    let large = Request::get("/").header("X-Large", &"a".repeat(40_000));
    refused(&stack, &large, 431, "headers_too_large").await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_sent_and_as_it_streams() {
    let backend = Backend::http().otherwise(|_| Reply::text("ok")).start();
    let small = open_route().set("maxBodyBytes", 1000);
    let stack = echoing(&backend, &[small]).await;
    stack.gateway(0).send(&Request::post("/", vec![b'a'; 1000])).await.expect_status(200);
    refused(&stack, &Request::post("/", vec![b'a'; 1001]), 413, "body_too_large").await;
    assert_eq!(backend.count(), 1);

    // Whoever says Upgrade gets no other treatment.
    for headers in ["", "Upgrade: x\r\nConnection: upgrade\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", 600, "a".repeat(600));
        let mut connection = stack.gateway(0).connect().await;
        let wire = connection.wire();
        wire.write(format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes()).await.unwrap();
        let head = wire.read_head().await.unwrap().unwrap();
        assert_eq!(head.status().unwrap(), 413, "{headers}");
        let framing = Framing::of_response(&head, "POST").unwrap();
        let body = wire.read_body(framing).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("body_too_large"));
    }
    assert_eq!(backend.count(), 1, "a body that was cut off is no request");
}

#[tokio::test]
async fn a_browsers_question_is_answered_by_the_gateway() {
    let backend = Backend::http().otherwise(|_| Reply::text("ok").header("Access-Control-Allow-Origin", "*")).start();
    let cors =
        json!({"allowOrigins": ["https://shop.example"], "allowCredentials": true, "exposeHeaders": ["x-total"]});
    // Without credentials nobody gets in; the question comes without.
    let closed = route("closed").pattern("/closed").method("PUT").to_service("echo").set("cors", cors.clone());
    let open = route("open").pattern("/open").to_service("echo").public().set("cors", cors);
    let stack = echoing(&backend, &[closed, open]).await;
    let question = |origin: &str| {
        Request::new("OPTIONS", "/closed")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "PUT")
            .header("Access-Control-Request-Headers", "x-api-key")
    };
    let answer = stack.gateway(0).send(&question("https://shop.example")).await.expect_status(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("x-api-key"));
    let answer = stack.gateway(0).send(&question("https://evil.example")).await.expect_status(204);
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
    assert_eq!(backend.count(), 0);

    let get = |origin: &str| Request::get("/open").header("Origin", origin);
    let answer = stack.gateway(0).send(&get("https://shop.example")).await.expect_status(200);
    assert_eq!(answer.headers.all("access-control-allow-origin"), ["https://shop.example"]);
    assert_eq!(answer.header("access-control-expose-headers"), Some("x-total"));
    assert!(answer.headers.all("vary").iter().any(|vary| vary.contains("Origin")), "{answer}");
    // What the backend says of other sites does not count where the gateway has a policy.
    let answer = stack.gateway(0).send(&get("https://evil.example")).await.expect_status(200);
    assert_eq!(answer.header("access-control-allow-origin"), None, "{answer}");
    // A refusal is readable, too: otherwise a page can't tell why.
    let denied = Request::new("PUT", "/closed").header("Origin", "https://shop.example");
    let answer = refused(&stack, &denied, 401, "credentials_missing").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
}

#[tokio::test]
async fn security_headers_are_on_all_answers_unless_the_backend_sets_its_own() {
    let backend = Backend::http().otherwise(|_| Reply::text("ok").header("X-Frame-Options", "SAMEORIGIN")).start();
    let stack = echoing(&backend, &[open_route()]).await;
    set_defaults(&stack, json!({"securityHeaders": {"strict-transport-security": "max-age=60"}})).await;
    for path in ["/", "/%2f"] {
        let answer = stack.gateway(0).get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{answer}");
        // It would mean nothing over plain HTTP.
        assert_eq!(answer.header("strict-transport-security"), None, "{answer}");
    }
    assert_eq!(stack.gateway(0).get("/").await.headers.all("x-frame-options"), ["SAMEORIGIN"]);
}

#[tokio::test]
async fn plain_requests_are_sent_to_https_where_that_is_set() {
    let backend = Backend::echo();
    let settings = [("GATEWAY_HTTPS_REDIRECT", "443"), ("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32")];
    let stack = echoing_with(&backend, &[open_route()], &settings).await;
    let answer = stack.gateway(0).send(&Request::get("/a?b=c").host("shop.example:80")).await.expect_status(308);
    assert_eq!(answer.header("location"), Some("https://shop.example/a?b=c"));
    // Whatever comes in plain text is not even looked at: neither a key nor a path that leads nowhere.
    for plain in [Request::get("/a").header("X-API-Key", "gk_x"), Request::get("/.well-known/gateway/me")] {
        stack.gateway(0).send(&plain).await.expect_status(308);
    }
    let secure = Request::get("/a").header("X-Forwarded-Proto", "https");
    stack.gateway(0).send(&secure).await.expect_status(200);
}

#[tokio::test]
async fn screening_blocks_reports_or_looks_away_as_the_route_says() {
    let backend = Backend::echo();
    let screened = |name: &str, mode: &str| {
        route(name).pattern(&format!("/{name}/{{*rest}}")).to_service("echo").public().set("screening", mode)
    };
    let stack =
        echoing(&backend, &[screened("block", "block"), screened("report", "report"), screened("off", "off")]).await;
    let attack = "id=1%27%20OR%20%271%27%3D%271";
    refused(&stack, &Request::get(&format!("/block/x?{attack}")), 400, "unsafe_input").await;
    let json = |path: &str, body: &str| Request::post(path, body.to_owned()).header("Content-Type", "application/json");
    let script = r#"{"comment": "<script>alert(1)</script>"}"#;
    refused(&stack, &json("/block/x", script), 400, "unsafe_input").await;
    let form = Request::post("/block/x", attack).header("Content-Type", "application/x-www-form-urlencoded");
    refused(&stack, &form, 400, "unsafe_input").await;
    // Nor does it help to name no type, or to hide it in another encoding.
    refused(&stack, &Request::post("/block/x", script), 400, "unsafe_input").await;
    refused(&stack, &json("/block/x", script).header("Content-Encoding", "gzip"), 415, "unsupported_media_type").await;
    assert_eq!(backend.count(), 0);

    stack.gateway(0).get(&format!("/off/x?{attack}")).await.expect_status(200);
    stack.gateway(0).get(&format!("/report/x?{attack}")).await.expect_status(200);
    let answer = stack.gateway(0).send(&json("/report/x", script)).await.expect_status(200);
    assert!(answer.text().contains("script"), "{answer}");
    let innocent = r#"{"comment": "it's O'Reilly's book, select your seat"}"#;
    stack.gateway(0).send(&json("/block/x", innocent)).await.expect_status(200);
    assert_eq!(backend.count(), 4);
}
