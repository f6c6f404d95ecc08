//! Two writers: the second one learns that the first was there.

use e2e::{Database, Request, Stack, proof, service};
use serde_json::json;

#[tokio::test]
async fn a_stale_if_match_is_412_and_writes_nothing() {
    let stack = Stack::start().await;
    let auth = service("auth").url("http://127.0.0.1:9");
    stack.put(std::slice::from_ref(&auth)).await;
    let read = stack.admin().get(&auth.path()).await.expect_status(200);
    let tag = read.header("etag").expect("every read carries an ETag").to_owned();

    let write = |tag: &str, description: &str| {
        let value = auth.clone().set("description", description).json().to_string();
        Request::new("PUT", &auth.path()).header("If-Match", tag).header("Content-Type", "application/json").body(value)
    };
    let first = stack.admin().send(&write(&tag, "first")).await.expect_status(200);
    let fresh = first.header("etag").expect("a write answers with the new ETag").to_owned();
    assert_ne!(fresh, tag);
    stack.admin().send(&write(&tag, "second")).await.expect_status(412);
    assert_eq!(stack.admin().get(&auth.path()).await.json()["description"], "first");
    for method in ["PATCH", "DELETE"] {
        let request =
            Request::new(method, &auth.path()).header("If-Match", &tag).header("Content-Type", "application/json");
        let request = if method == "PATCH" { request.body("{}") } else { request };
        stack.admin().send(&request).await.expect_status(412);
    }
    stack.admin().send(&write(&fresh, "third")).await.expect_status(200);
}

#[tokio::test]
async fn if_match_on_what_is_not_there_is_412() {
    let stack = Stack::start().await;
    let request = Request::new("PUT", "/admin/routing/services/auth").header("Content-Type", "application/json");
    let request = request.header("If-Match", "\"anything\"").body("{}");
    stack.admin().send(&request).await.expect_status(412);
    stack.admin().get("/admin/routing/services/auth").await.expect_status(404);
}

/// Every writer reads, adds one and writes back under its ETag: no addition may be lost.
async fn no_update_is_lost(database: Database) {
    let stack = Stack::builder().database(database).gateways(0).start().await;
    let counter = service("counter").set("maxConcurrent", 1);
    stack.admin().put(&counter.path(), &counter.json()).await.expect_status(201);
    let each = proof::count(10, 100);
    let writer = async || {
        let mut done = 0;
        while done < each {
            let read = stack.admin().get(&counter.path()).await.expect_status(200);
            let next = read.json()["maxConcurrent"].as_u64().unwrap() + 1;
            let request = Request::new("PATCH", &counter.path())
                .header("If-Match", read.header("etag").unwrap())
                .header("Content-Type", "application/merge-patch+json")
                .body(json!({"maxConcurrent": next}).to_string());
            match stack.admin().send(&request).await.status {
                200 => done += 1,
                412 => {}
                status => panic!("{status}"),
            }
        }
    };
    tokio::join!(writer(), writer(), writer());
    let last = stack.admin().get(&counter.path()).await.json();
    assert_eq!(last["maxConcurrent"], 3 * each + 1);
    let database = stack.database();
    let head = database.number("SELECT generation FROM config_head").await;
    assert_eq!(head, i64::try_from(3 * each + 1).unwrap());
    assert_eq!(database.number("SELECT COUNT(*) FROM config_generation").await, head);
}

#[tokio::test]
async fn concurrent_writers_lose_no_update_on_sqlite() {
    no_update_is_lost(Database::sqlite()).await;
}

#[tokio::test]
async fn concurrent_writers_lose_no_update_on_postgres() {
    no_update_is_lost(Database::postgres().await).await;
}
