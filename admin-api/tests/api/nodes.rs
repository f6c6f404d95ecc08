//! Nodes: who lives, who is silent, who left, and who serves something else.

use gateway_config::model::{LIVE_MILLIS, Node};
use serde_json::json;

use crate::client::Admin;

#[tokio::test]
async fn nodes_are_live_silent_or_left() {
    let admin = Admin::start().await;
    let silent = admin.report(0).await;
    admin.clock.advance_millis(LIVE_MILLIS + 1);
    let live = admin.report(0).await;
    let left = admin.report(0).await;
    admin.delete(format!("/admin/nodes/{}", left.id)).send().await.expect(204);
    let list = admin.get("/admin/nodes").send().await.expect(200);
    for (node, state) in [(silent, "silent"), (live, "live"), (left, "left")] {
        let items = list.body["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["id"] == json!(node.id)).unwrap();
        assert_eq!(item["state"], state);
    }
}

#[tokio::test]
async fn a_live_node_with_other_content_at_the_same_generation_is_named() {
    let admin = Admin::with_auth().await;
    let head = admin.store.head().await.unwrap();
    let good = Node { digest: head.digest.to_string(), ..admin.report(2).await };
    admin.store.report_node(&good).await.unwrap();
    let other = admin.report(2).await;
    let behind = admin.report(1).await;
    let list = admin.get("/admin/nodes").send().await.expect(200);
    for (node, disagrees) in [(good, false), (other, true), (behind, false)] {
        let item = list.body["items"].as_array().unwrap().iter().find(|item| item["id"] == json!(node.id)).unwrap();
        assert_eq!(item["disagrees"], disagrees, "{item}");
        assert_eq!(item["generation"], node.generation);
    }
}

#[tokio::test]
async fn removing_a_node_that_nobody_knows_is_404() {
    let admin = Admin::start().await;
    for id in ["0190f5d2-0000-7000-8000-000000000001", "x"] {
        admin.delete(format!("/admin/nodes/{id}")).send().await.refused(404, "not_found");
    }
}
