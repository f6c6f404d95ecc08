//! Services, versions and routes: created, read, replaced, patched, listed, deleted.

use e2e::{Backend, Stack, route, service};
use serde_json::{Value, json};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text {field} in {value}"))
}

#[tokio::test]
async fn put_creates_with_201_and_replaces_with_200_and_each_write_is_one_generation() {
    let stack = Stack::start().await;
    let admin = stack.admin();
    let made = admin
        .put("/admin/routing/services/auth", &service("auth").url("http://127.0.0.1:9").json())
        .await
        .expect_status(201);
    assert_eq!(made.header("x-config-generation"), Some("1"), "{made}");
    let first = made.json();
    for field in ["id", "createdAt", "updatedAt"] {
        assert!(!text(&first, field).is_empty());
    }
    let replaced = admin
        .put("/admin/routing/services/auth", &service("auth").url("http://127.0.0.1:10").json())
        .await
        .expect_status(200);
    assert_eq!(replaced.header("x-config-generation"), Some("2"), "{replaced}");
    let second = replaced.json();
    assert_eq!((&first["id"], &first["createdAt"]), (&second["id"], &second["createdAt"]));
    assert_eq!(second["defaultUrl"], "http://127.0.0.1:10");
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_generation() {
    let stack = Stack::start().await;
    let auth = service("auth").url("http://127.0.0.1:9");
    stack.admin().put(&auth.path(), &auth.json()).await.expect_status(201);
    let again = stack.admin().put(&auth.path(), &auth.json()).await.expect_status(200);
    assert_eq!(again.header("x-config-generation"), Some("1"), "{again}");
    assert_eq!(stack.database().number("SELECT COUNT(*) FROM config_generation").await, 1);
}

#[tokio::test]
async fn put_takes_the_name_from_the_path_and_refuses_another_in_the_body() {
    let stack = Stack::start().await;
    let nameless = json!({"defaultUrl": "http://127.0.0.1:9"});
    let made = stack.admin().put("/admin/routing/services/auth", &nameless).await.expect_status(201);
    assert_eq!(made.json()["serviceName"], "auth");
    stack.admin().put("/admin/routing/services/auth", &service("other").json()).await.expect_status(422);
}

#[tokio::test]
async fn post_creates_once() {
    let stack = Stack::start().await;
    let auth = service("auth").url("http://127.0.0.1:9");
    stack.admin().post(auth.collection(), &auth.json()).await.expect_status(201);
    stack.admin().post(auth.collection(), &auth.json()).await.expect_status(409);
}

#[tokio::test]
async fn patch_merges_and_null_takes_away() {
    let stack = Stack::start().await;
    let auth =
        service("auth").url("http://127.0.0.1:9").set("description", "who").set("timeouts", json!({"readMs": 5}));
    stack.put(std::slice::from_ref(&auth)).await;
    let change = json!({"description": "what", "timeouts": {"connectMs": 7}});
    let patched = stack.admin().patch(&auth.path(), &change).await.expect_status(200).json();
    assert_eq!((text(&patched, "description"), text(&patched, "defaultUrl")), ("what", "http://127.0.0.1:9"));
    assert_eq!((&patched["timeouts"]["readMs"], &patched["timeouts"]["connectMs"]), (&5.into(), &7.into()));
    let patched =
        stack.admin().patch(&auth.path(), &json!({"timeouts": {"readMs": null}})).await.expect_status(200).json();
    assert!(patched["timeouts"]["readMs"].is_null(), "{patched}");
    stack.admin().patch("/admin/routing/services/ghost", &json!({})).await.expect_status(404);
}

#[tokio::test]
async fn delete_is_204_once_and_409_while_something_points_there() {
    let backend = Backend::saying("hello");
    let stack = Stack::start().await;
    let (auth, login) =
        (service("auth").url(backend.url()), route("login").pattern("/login").to_service("auth").public());
    stack.put(&[auth.clone(), login.clone()]).await;
    let refused = stack.admin().delete(&auth.path()).await.expect_status(409);
    assert!(refused.text().contains("login"), "{refused}");
    stack.gateway(0).get("/login").await.expect_status(200);
    stack.admin().delete(&format!("{}?wait=10s", login.path())).await.expect_status(204);
    stack.gateway(0).get("/login").await.expect_status(404);
    stack.admin().delete(&auth.path()).await.expect_status(204);
    stack.admin().delete(&auth.path()).await.expect_status(404);
    stack.admin().get(&auth.path()).await.expect_status(404);
}

#[tokio::test]
async fn versions_have_paths_of_their_own() {
    let backend = Backend::saying("hello");
    let stack = Stack::start().await;
    stack.put(&[service("auth"), route("auth").pattern("/auth").to_service("auth").public()]).await;
    let path = "/admin/routing/services/auth/versions/v1";
    let version = json!({"url": backend.url(), "weight": 100});
    stack.admin().put(&format!("{path}?wait=10s"), &version).await.expect_status(201);
    stack.gateway(0).get("/auth").await.expect_status(200);
    let read = stack.admin().get(path).await.expect_status(200).json();
    assert_eq!((text(&read, "version"), &read["weight"]), ("v1", &100.into()));
    stack.admin().patch(path, &json!({"weight": 50})).await.expect_status(200);
    let whole = stack.admin().get("/admin/routing/services/auth").await.expect_status(200).json();
    assert_eq!(whole["versions"][0]["weight"], 50);
    stack.admin().put("/admin/routing/services/ghost/versions/v1", &version).await.expect_status(404);
    stack.admin().delete(path).await.expect_status(204);
    stack.admin().get(path).await.expect_status(404);
}

#[tokio::test]
async fn listings_go_page_by_page_and_can_be_searched() {
    let stack = Stack::start().await;
    for number in 0..7 {
        let name = format!("s{number}");
        stack
            .admin()
            .put(
                &format!("/admin/routing/services/{name}"),
                &service(&name).set("description", if number == 3 { "special" } else { "plain" }).json(),
            )
            .await
            .expect_status(201);
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            stack.admin().get(&format!("/admin/routing/services?limit=3{cursor}")).await.expect_status(200).json();
        let items = page["items"].as_array().expect("a list").clone();
        assert!(items.len() <= 3);
        names.extend(items.iter().map(|item| text(item, "serviceName").to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
    let found = stack.admin().get("/admin/routing/services?q=SPECIAL").await.expect_status(200).json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(text(&found["items"][0], "serviceName"), "s3");
    for bad in ["limit=0", "limit=x", "cursor=%00", "nonsense=1"] {
        let answer = stack.admin().get(&format!("/admin/routing/services?{bad}")).await;
        assert!([400, 422].contains(&answer.status), "{bad}: {answer}");
    }
}
