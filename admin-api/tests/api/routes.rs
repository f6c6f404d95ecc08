//! Routes: what does not compile is refused, and the old configuration stays.

use serde_json::json;

use crate::client::{Admin, ROUTES, route};

#[tokio::test]
async fn a_route_to_nowhere_is_refused_with_the_place() {
    let admin = Admin::with_auth().await;
    let path = format!("{ROUTES}/orders");
    let refused = admin.put(&path).json(route("/orders", "ghost")).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["routes/orders/target/service"]);
    assert!(refused.body["message"].as_str().unwrap().contains("ghost"));
    assert_eq!(refused.body["warnings"], json!([]));
    admin.get(&path).send().await.refused(404, "not_found");
    assert_eq!(admin.store.head().await.unwrap().generation, 2);
}

#[tokio::test]
async fn two_routes_that_can_not_be_told_apart_are_refused() {
    let admin = Admin::with_auth().await;
    let body = route("/auth/{*other}", "auth");
    admin.put(format!("{ROUTES}/twin")).json(body).send().await.refused(422, "invalid");
}

#[tokio::test]
async fn a_bad_pattern_or_regex_is_refused_with_its_field() {
    let admin = Admin::with_auth().await;
    let mut body = route("no-slash", "auth");
    body["headers"] = json!({"x-a": "~("});
    body["hosts"] = json!(["ex ample.com"]);
    let refused = admin.put(format!("{ROUTES}/bad")).json(body).send().await.refused(422, "invalid");
    for field in ["path", "headers/x-a", "hosts/0"] {
        let path = format!("routes/bad/{field}");
        assert!(refused.problems().contains(&path.as_str()), "{path} in {}", refused.text);
    }
}

#[tokio::test]
async fn a_route_reads_back_as_it_was_written() {
    let admin = Admin::with_auth().await;
    let mut body = route("/api/{version}/x/{*rest}", "auth");
    body["methods"] = json!(["GET", "POST"]);
    body["headers"] = json!({"x-tenant": "~^a"});
    body["rewrite"] = json!("/x/{rest}");
    let made = admin.post(ROUTES).json({
        let mut body = body.clone();
        body["name"] = json!("x");
        body
    });
    made.send().await.expect(201);
    let read = admin.get(format!("{ROUTES}/x")).send().await.expect(200);
    for (field, value) in body.as_object().unwrap() {
        match field.as_str() {
            "access" => assert_eq!(read.body["access"]["anyOf"], value["anyOf"]),
            _ => assert_eq!(&read.body[field], value, "{field}"),
        }
    }
}
