//! `Host`: refused when it is missing, doubled or invalid, and matched exact before wildcard before any.

use e2e::{Backend, Request, Stack, raw_request, route, service};
use serde_json::Value;

use super::echoing;

fn host_seen(echo: &Value) -> Vec<&str> {
    let headers = echo["headers"].as_array().into_iter().flatten();
    let hosts = headers.filter(|field| field[0].as_str().is_some_and(|name| name.eq_ignore_ascii_case("host")));
    hosts.filter_map(|field| field[1].as_str()).collect()
}

#[tokio::test]
async fn a_missing_doubled_or_invalid_host_is_refused_and_never_forwarded() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    for lines in [
        "",
        "Host: a.example\r\nHost: a.example\r\n",
        "Host: a.example\r\nHost: b.example\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a@b\r\n",
        "Host: a,b\r\n",
        "Host: a:port\r\n",
        "Host: a:99999\r\n",
        "Host: [::1\r\n",
        "Host: *.example\r\n",
        "Host: a?b\r\n",
        "Host: a\x00b\r\n",
    ] {
        let bytes = format!("GET / HTTP/1.1\r\n{lines}\r\n");
        let answer = raw_request(stack.gateway(0).address(), bytes.as_bytes()).await;
        assert_eq!(answer.as_ref().map(|answer| answer.status), Some(400), "{lines:?}: {answer:?}");
    }
    assert_eq!(backend.count(), 0, "{:?}", backend.requests());
}

#[tokio::test]
async fn http_1_0_may_leave_the_host_out() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let answer = raw_request(stack.gateway(0).address(), b"GET /x HTTP/1.0\r\n\r\n").await.expect("an answer");
    assert_eq!(answer.expect_status(200).json()["target"], "/x");
}

#[tokio::test]
async fn an_exact_host_goes_before_a_wildcard_before_any() {
    let backends = ["exact", "deep", "wild", "any"].map(Backend::saying);
    let stack = Stack::start().await;
    for (name, backend) in ["exact", "deep", "wild", "any"].iter().zip(&backends) {
        stack.put(&[service(name).url(backend.url())]).await;
    }
    stack
        .put(&[
            route("exact").pattern("/{*rest}").host("shop.example.com").to_service("exact").public(),
            route("deep").pattern("/{*rest}").host("*.eu.example.com").to_service("deep").public(),
            route("wild").pattern("/{*rest}").host("*.example.com").to_service("wild").public(),
            route("any").pattern("/{*rest}").to_service("any").public(),
        ])
        .await;
    for (host, expected) in [
        ("shop.example.com", "exact"),
        ("SHOP.Example.COM:8080", "exact"),
        ("shop.example.com.", "exact"),
        ("x.eu.example.com", "deep"),
        ("other.example.com", "wild"),
        ("example.com", "any"),
        ("shop.example.com.evil.test", "any"),
        ("127.0.0.1", "any"),
        ("[::1]:80", "any"),
    ] {
        let answer = stack.gateway(0).send(&Request::get("/").host(host)).await;
        assert_eq!(answer.expect_status(200).text(), expected, "{host}");
    }
}

#[tokio::test]
async fn the_backend_sees_the_host_that_its_service_says() {
    let backend = Backend::echo();
    let stack = Stack::start().await;
    for (name, setting) in [("kept", "keep"), ("own", "upstream"), ("named", "inner.example")] {
        let path = format!("/{name}");
        stack
            .put(&[
                service(name).url(backend.url()).set("hostHeader", setting),
                route(name).pattern(&path).to_service(name).public(),
            ])
            .await;
    }
    let own = backend.address().to_string();
    for (path, expected) in [("/kept", "shop.example:81"), ("/own", own.as_str()), ("/named", "inner.example")] {
        let answer = stack.gateway(0).send(&Request::get(path).host("shop.example:81")).await.expect_status(200);
        assert_eq!(host_seen(&answer.json()), [expected], "{path}");
    }
}
