//! What is matched is what is forwarded: paths are normalised once, and what a backend could read otherwise is refused.

use e2e::{Backend, Request, Stack, raw_request, route, service};

use super::echoing;

fn all() -> e2e::Entity {
    route("all").pattern("/{*rest}").to_service("echo").public()
}

#[tokio::test]
async fn the_normalised_path_is_forwarded_and_the_query_as_it_came() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[all()]).await;
    for (sent, arrived) in [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/../../a", "/a"),
        ("/a/%2e%2e/b", "/b"),
        ("/%61%7Eb", "/a~b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%20b", "/a%20b"),
        ("/a?", "/a?"),
        ("/a?x=%2f..//&y=%00&z={1}", "/a?x=%2f..//&y=%00&z={1}"),
        ("/a?q=?&q", "/a?q=?&q"),
    ] {
        let answer = stack.gateway(0).get(sent).await.expect_status(200);
        assert_eq!(answer.json()["target"], arrived, "sent {sent}");
    }
}

#[tokio::test]
async fn an_ambiguous_path_is_refused_and_never_forwarded() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[all()]).await;
    for path in [
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/a%0d%0aX:1",
        "/a%",
        "/a%2",
        "/a%zz",
        "/%252e%252e/a",
        "/a;x=1/b",
        "/..;/a",
        "/%25%32%66",
    ] {
        let answer = stack.gateway(0).get(path).await;
        assert_eq!((answer.status, answer.code()), (400, Some("bad_request")), "{path}: {answer}");
    }
    assert_eq!(backend.count(), 0, "{:?}", backend.requests());
}

#[tokio::test]
async fn bytes_that_are_no_path_are_refused_and_never_forwarded() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[all()]).await;
    for target in [&b"/a\x00b"[..], b"/a\x7fb", b"/caf\xe9", b"*", b"a"] {
        let bytes = [b"GET ", target, b" HTTP/1.1\r\nHost: a.example\r\n\r\n"].concat();
        let answer = raw_request(stack.gateway(0).address(), &bytes).await;
        let status = answer.as_ref().map(|answer| answer.status);
        assert!(status.is_none_or(|status| status == 400), "{:?}: {answer:?}", String::from_utf8_lossy(target));
    }
    assert_eq!(backend.count(), 0, "{:?}", backend.requests());
}

#[tokio::test]
async fn a_fragment_is_neither_matched_nor_forwarded() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[all()]).await;
    for target in ["/a#b", "/a?x#b", "/a#/../b"] {
        let answer = stack.gateway(0).get(target).await;
        assert!(answer.status == 400 || !answer.json()["target"].to_string().contains('#'), "{target}: {answer}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_slips_past_the_access_of_its_route() {
    let backend = Backend::echo();
    let open = route("open").pattern("/open/{*rest}").to_service("echo").public();
    let closed = route("closed").pattern("/closed/{*rest}").to_service("echo");
    let stack = echoing(&backend, &[open, closed]).await;
    stack.gateway(0).get("/open/x").await.expect_status(200);
    let passed = backend.count();
    for path in [
        "/closed/x",
        "/open/../closed/x",
        "/open/%2e%2e/closed/x",
        "/open/%2E./closed/x",
        "//closed/x",
        "/./closed/x",
        "/%63losed/x",
        "/open/..%2fclosed/x",
        "/open/..;/closed/x",
        "/open/..\\closed/x",
        "/open/%2e%2e%2fclosed/x",
    ] {
        let answer = stack.gateway(0).get(path).await;
        assert!([400, 401].contains(&answer.status), "{path}: {answer}");
    }
    assert_eq!(backend.count(), passed);
}

#[tokio::test]
async fn an_absolute_target_is_forwarded_by_its_path() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[all()]).await;
    for target in ["http://a.example/x/../y?z=1", "HTTP://a.example//y?z=1"] {
        let answer = stack.gateway(0).send(&Request::get(target).host("a.example")).await;
        assert_eq!(answer.expect_status(200).json()["target"], "/y?z=1", "{target}");
    }
    let seen = backend.count();
    for target in
        ["http://a.example/x%2fy", "http:///x", "http://a@b.example/", "ftp://a.example/", "http:/x", "a.example:80"]
    {
        let answer = stack.gateway(0).send(&Request::get(target).host("a.example")).await;
        assert_eq!(answer.status, 400, "{target}: {answer}");
    }
    assert_eq!(backend.count(), seen);
}

#[tokio::test]
async fn the_host_of_an_absolute_target_is_the_one_that_the_backend_sees() {
    let (one, two) = (Backend::echo(), Backend::echo());
    let stack = Stack::start().await;
    for (name, backend) in [("one", &one), ("two", &two)] {
        let host = format!("{name}.example");
        stack
            .put(&[
                service(name).url(backend.url()),
                route(name).pattern("/{*rest}").host(&host).to_service(name).public(),
            ])
            .await;
    }
    let answer = stack.gateway(0).send(&Request::get("http://one.example/x").host("two.example")).await;
    assert!(answer.status == 400 || (one.count(), two.count()) == (1, 0), "{answer}");
    let hosts: Vec<_> = one.requests().iter().map(|request| request.header("host").map(str::to_owned)).collect();
    assert!(hosts.iter().all(|host| host.as_deref() == Some("one.example")), "{hosts:?}");
}

#[tokio::test]
async fn a_rewrite_is_made_of_the_names_in_the_pattern() {
    let backend = Backend::echo();
    let moved =
        route("moved").pattern("/api/{version}/auth/{*rest}").to_service("echo").rewrite("/in/{version}/{rest}");
    let stack = echoing(&backend, &[moved.public()]).await;
    for (sent, arrived) in [
        ("/api/v1/auth/users/7?full=1", "/in/v1/users/7?full=1"),
        ("/api/v1/auth/a%20b/", "/in/v1/a%20b/"),
        ("/api/v1/auth/", "/in/v1/"),
    ] {
        let answer = stack.gateway(0).get(sent).await.expect_status(200);
        assert_eq!(answer.json()["target"], arrived, "sent {sent}");
    }
    stack.gateway(0).get("/api/v1/auth").await.expect_status(404);
}
