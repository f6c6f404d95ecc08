//! Who may use the admin API: whoever has the token.

use e2e::stack::ADMIN_TOKEN;
use e2e::{Request, Stack};

const OPERATIONS: [(&str, &str); 14] = [
    ("GET", "/admin/routing/services"),
    ("POST", "/admin/routing/services"),
    ("GET", "/admin/routing/services/a"),
    ("PUT", "/admin/routing/services/a"),
    ("PATCH", "/admin/routing/services/a"),
    ("DELETE", "/admin/routing/services/a"),
    ("PUT", "/admin/routing/services/a/versions/v1"),
    ("GET", "/admin/routing/routes"),
    ("PUT", "/admin/routing/routes/a"),
    ("DELETE", "/admin/routing/routes/a"),
    ("POST", "/admin/config/validate"),
    ("POST", "/admin/explain"),
    ("GET", "/admin/nodes"),
    ("GET", "/admin/nowhere"),
];

#[tokio::test]
async fn nothing_under_admin_answers_without_the_token() {
    let stack = Stack::builder().gateways(0).start().await;
    let nearly = format!("Bearer {}", &ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1]);
    let wrong = ["Bearer", "Bearer ", "Bearer x", "Basic YTpi", ADMIN_TOKEN, nearly.as_str()];
    for (method, path) in OPERATIONS {
        let bare = Request::new(method, path).header("Content-Type", "application/json").body("{}");
        let answer = bare.send(stack.admin().address()).await.unwrap();
        assert_eq!(answer.status, 401, "{method} {path}: {answer}");
        assert!(answer.header("www-authenticate").is_some(), "{answer}");
        for credentials in wrong {
            let answer = bare.clone().header("Authorization", credentials).send(stack.admin().address()).await.unwrap();
            assert_eq!(answer.status, 401, "{method} {path} with {credentials:?}: {answer}");
        }
    }
    assert_eq!(stack.database().number("SELECT generation FROM config_head").await, 0);
}

#[tokio::test]
async fn the_api_tells_about_itself_without_a_token() {
    let stack = Stack::builder().gateways(0).start().await;
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json"] {
        Request::get(path).send(stack.admin().address()).await.unwrap().expect_status(200);
    }
}

#[tokio::test]
async fn the_token_is_in_no_log_and_no_answer() {
    let stack = Stack::builder().gateways(0).start().await;
    stack.admin().put("/admin/routing/services/a", &serde_json::json!({"bad": 1})).await.expect_status(422);
    let answers = [stack.admin().get("/metrics").await, stack.admin().get("/admin/nowhere").await];
    assert!(answers.iter().all(|answer| !answer.to_string().contains(ADMIN_TOKEN)));
    assert!(stack.admin().process().lines().iter().all(|line| !line.text.contains(ADMIN_TOKEN)));
}
