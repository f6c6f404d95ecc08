//! `?wait=`: never a lie about who serves the change.

use gateway_config::model::{LIVE_MILLIS, Node};
use serde_json::json;

use crate::client::{Admin, Answer};

const AUTH: &str = "/admin/routing/services/auth";

async fn write(admin: &Admin, wait: &str) -> Answer {
    let body = json!({"defaultUrl": "http://127.0.0.1:7200"});
    admin.put(format!("{AUTH}?wait={wait}")).json(body).send().await
}

fn waiting_for(answer: &Answer) -> Vec<(&str, &str, u64)> {
    let nodes = answer.body["waitingFor"].as_array().unwrap().iter();
    nodes
        .map(|node| {
            let generation = node["generation"].as_u64().unwrap();
            (node["node"].as_str().unwrap(), node["state"].as_str().unwrap(), generation)
        })
        .collect()
}

#[tokio::test]
async fn without_nodes_a_wait_ends_at_once() {
    let admin = Admin::start().await;
    let answer = write(&admin, "60s").await.expect(201);
    assert_eq!(answer.header("x-config-applied"), "0/0");
}

#[tokio::test]
async fn without_a_wait_nobody_is_asked() {
    let admin = Admin::start().await;
    admin.report(0).await;
    let answer = admin.put(AUTH).json(json!({"defaultUrl": "http://a:1"})).send().await.expect(201);
    assert!(answer.headers.get("x-config-applied").is_none());
}

#[tokio::test]
async fn nodes_that_serve_it_already_end_the_wait() {
    let admin = Admin::start().await;
    admin.report(1).await;
    admin.report(7).await;
    let answer = write(&admin, "60s").await.expect(201);
    assert_eq!((answer.generation(), answer.header("x-config-applied")), (1, "2/2"));
}

#[tokio::test]
async fn a_node_that_lags_makes_it_202_at_the_deadline() {
    let admin = Admin::start().await;
    admin.report(1).await;
    let slow = admin.report(0).await;
    let answer = write(&admin, "200ms").await.expect(202);
    assert_eq!((answer.generation(), answer.header("x-config-applied")), (1, "1/2"));
    assert_eq!(answer.body["generation"], 1);
    assert_eq!(waiting_for(&answer), [(slow.id.to_string().as_str(), "live", 0)]);
    assert!(answer.headers.contains_key("etag"), "it was written all the same");
    admin.get(AUTH).send().await.expect(200);
}

#[tokio::test]
async fn a_silent_node_is_waited_for_even_if_it_served_it() {
    let admin = Admin::start().await;
    let silent = admin.report(1).await;
    admin.clock.advance_millis(LIVE_MILLIS + 1);
    admin.report(1).await;
    let answer = write(&admin, "50ms").await.expect(202);
    assert_eq!(answer.header("x-config-applied"), "1/1");
    assert_eq!(waiting_for(&answer), [(silent.id.to_string().as_str(), "silent", 1)]);
}

#[tokio::test]
async fn a_node_that_left_is_not_waited_for() {
    let admin = Admin::start().await;
    let gone = admin.report(0).await;
    admin.store.report_node(&Node { has_left: true, ..gone }).await.unwrap();
    let removed = admin.report(0).await;
    admin.delete(format!("/admin/nodes/{}", removed.id)).send().await.expect(204);
    let answer = write(&admin, "60s").await.expect(201);
    assert_eq!(answer.header("x-config-applied"), "0/0");
}

#[tokio::test]
async fn a_node_that_follows_ends_the_wait() {
    let admin = Admin::start().await;
    let node = admin.report(0).await;
    let follow = async {
        // As a gateway does: it sees the new generation, applies it and reports.
        while admin.store.head().await.unwrap().generation < 1 {
            tokio::task::yield_now().await;
        }
        admin.store.report_node(&Node { generation: 1, ..node.clone() }).await.unwrap();
    };
    let (answer, ()) = tokio::join!(write(&admin, "60s"), follow);
    assert_eq!(answer.expect(201).header("x-config-applied"), "1/1");
}

#[tokio::test]
async fn a_silent_node_that_comes_back_or_is_removed_ends_the_wait() {
    let admin = Admin::start().await;
    let (back, gone) = (admin.report(0).await, admin.report(0).await);
    admin.clock.advance_millis(LIVE_MILLIS + 1);
    let now = gateway_config::clock::Clock::now(&*admin.clock);
    let mend = async {
        while admin.store.head().await.unwrap().generation < 1 {
            tokio::task::yield_now().await;
        }
        admin.store.report_node(&Node { generation: 1, last_seen: now, ..back.clone() }).await.unwrap();
        admin.delete(format!("/admin/nodes/{}", gone.id)).send().await.expect(204);
    };
    let (answer, ()) = tokio::join!(write(&admin, "60s"), mend);
    assert_eq!(answer.expect(201).header("x-config-applied"), "1/1");
}

#[tokio::test]
async fn every_write_can_wait() {
    let admin = Admin::with_auth().await;
    admin.report(0).await;
    let version = "/admin/routing/services/auth/versions/v1?wait=0";
    let answers = [
        admin.patch(format!("{AUTH}?wait=0")).json(json!({})).send().await,
        admin.put(version).json(json!({"url": "http://a:1"})).send().await,
        admin.patch(version).json(json!({"weight": 1})).send().await,
        admin.delete(version).send().await,
        admin.post("/admin/routing/services?wait=0").json(json!({"serviceName": "b"})).send().await,
        admin.delete("/admin/routing/services/b?wait=0").send().await,
    ];
    for answer in answers {
        assert_eq!(answer.expect(202).header("x-config-applied"), "0/1");
    }
}

#[tokio::test]
async fn a_wait_that_can_not_be_read_writes_nothing() {
    let admin = Admin::start().await;
    for bad in ["", "soon", "5m", "-1s", "61s", "60001ms", "1.5s"] {
        let refused = write(&admin, bad).await.refused(422, "invalid");
        assert_eq!(refused.problems(), ["wait"], "{bad}");
    }
    assert_eq!(admin.store.head().await.unwrap().generation, 0);
}
