//! The admin API about itself.

use std::sync::Arc;

use gateway_config::store;
use serde_json::json;

use crate::client::Admin;

#[tokio::test]
async fn it_is_ready_once_the_tables_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("gateway.db").display());
    let store = store::open(&url).await.unwrap();
    let admin = Admin::over(Arc::clone(&store), Some(dir));
    admin.get("/readyz").send().await.refused(503, "database_unavailable");
    admin.get("/livez").send().await.expect(200);
    store.migrate().await.unwrap();
    assert_eq!(admin.get("/readyz").send().await.expect(200).body, json!({"status": "ready"}));
}

#[tokio::test]
async fn requests_and_writes_are_counted_by_operation_and_not_by_name() {
    let admin = Admin::with_auth().await;
    admin.get("/admin/routing/services/auth").send().await.expect(200);
    admin.get("/admin/routing/services/ghost").send().await.expect(404);
    admin.call("BREW", "/admin/routing/services/ghost").send().await.expect(405);
    let metrics = admin.get("/metrics").send().await.expect(200);
    let labels = r#"operation="/admin/routing/services/{serviceName}""#;
    for line in [
        format!("gatehouse_admin_requests_total{{method=\"GET\",{labels},status=\"200\"}} 1"),
        format!("gatehouse_admin_requests_total{{method=\"GET\",{labels},status=\"404\"}} 1"),
        format!("gatehouse_admin_requests_total{{method=\"other\",{labels},status=\"405\"}} 1"),
        "gatehouse_admin_write_seconds_count 2".to_owned(),
        "gatehouse_admin_head_generation 2".to_owned(),
        "gatehouse_admin_hand_edits_total 0".to_owned(),
        format!("gatehouse_admin_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(metrics.text.lines().any(|it| it == line), "{line} is not in\n{}", metrics.text);
    }
    assert!(!metrics.text.contains("ghost"));
}

#[tokio::test]
async fn a_head_request_is_answered_like_a_get() {
    let admin = Admin::with_auth().await;
    let get = admin.get("/admin/routing/services/auth").send().await.expect(200);
    let head = admin.call("HEAD", "/admin/routing/services/auth").send().await;
    assert_eq!((head.status, head.header("etag"), head.text.as_str()), (200, get.header("etag"), ""));
}
