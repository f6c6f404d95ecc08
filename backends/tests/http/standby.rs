//! The service that stands in.

use backends::services::Name::Standby;
use serde_json::json;

use crate::stage::{Stage, answer, folder};

#[tokio::test]
async fn every_path_and_method_is_answered_with_who_stands_in() {
    let folder = folder();
    let stage = Stage::open(&[Standby], folder.path()).await;
    for (request, path) in [
        (stage.get(Standby, "/"), "/"),
        (stage.get(Standby, "/reports/2026?full=1"), "/reports/2026"),
        (stage.post(Standby, "/a//b/").body("anything"), "/a//b/"),
        (stage.patch(Standby, "/x").json(&json!({})), "/x"),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!(status.as_u16(), 200);
        assert_eq!((&body["service"], &body["path"]), (&json!("standby"), &json!(path)));
    }
}
