//! Orders, page by page and state by state, and the echo.

use backends::services::Name::Monolith;
use serde_json::{Value, json};

use crate::stage::{Stage, answer, folder, refusal};

fn tea() -> Value {
    json!({"customer": "Ada", "items": [{"sku": "tea", "quantity": 3, "unitPriceCents": 250}]})
}

async fn order(stage: &Stage) -> String {
    let (status, order) = answer(stage.post(Monolith, "/orders").json(&tea())).await;
    assert_eq!(status.as_u16(), 201);
    format!("/orders/{}", order["id"].as_str().unwrap())
}

#[tokio::test]
async fn an_order_is_kept_as_it_was_made_and_outlives_the_process() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    let response = stage.post(Monolith, "/orders").json(&tea()).send().await.unwrap();
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = response.json().await.unwrap();
    assert_eq!((&made["state"], &made["totalCents"], &made["items"]), (&json!("open"), &json!(750), &tea()["items"]));
    stage.server.stop().await.unwrap();

    let stage = Stage::open(&[Monolith], folder.path()).await;
    assert_eq!(answer(stage.get(Monolith, &location)).await.1, made);
}

#[tokio::test]
async fn pages_hold_each_order_once_and_the_newest_first() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(order(&stage).await);
    }
    made.reverse();
    let (mut listed, mut query, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (_, page) = answer(stage.get(Monolith, &format!("/orders?limit=2{query}"))).await;
        listed.extend(
            page["items"].as_array().unwrap().iter().map(|order| format!("/orders/{}", order["id"].as_str().unwrap())),
        );
        pages += 1;
        let Some(cursor) = page["nextCursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
    }
    assert_eq!((listed, pages), (made, 3));
}

#[tokio::test]
async fn a_page_of_nothing_and_a_cursor_that_is_none_are_refused() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    for (query, status) in
        [("limit=0", 422), ("limit=101", 422), ("limit=many", 400), ("cursor=next", 400), ("page=2", 400)]
    {
        refusal(stage.get(Monolith, &format!("/orders?{query}")), status).await;
    }
}

#[tokio::test]
async fn an_order_without_customer_items_or_quantity_is_refused() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    for (field, given) in [
        ("customer", json!({"customer": " ", "items": tea()["items"]})),
        ("customer", json!({"customer": "x".repeat(201), "items": tea()["items"]})),
        ("items", json!({"customer": "Ada", "items": []})),
        (
            "items[1]",
            json!({"customer": "Ada", "items": [{"sku": "tea", "quantity": 1}, {"sku": "cup", "quantity": 0}]}),
        ),
        ("items[0]", json!({"customer": "Ada", "items": [{"sku": "tea", "quantity": -1}]})),
        ("state", json!({"customer": "Ada", "items": tea()["items"], "state": "paid"})),
    ] {
        let message = refusal(stage.post(Monolith, "/orders").json(&given), 422).await;
        assert!(message.contains(field), "{given}: {message}");
    }
}

#[tokio::test]
async fn an_order_moves_from_open_over_paid_to_shipped_and_not_back() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    let order = order(&stage).await;
    refusal(stage.patch(Monolith, &order).json(&json!({"state": "shipped"})), 409).await;
    for state in ["paid", "shipped"] {
        let (status, changed) = answer(stage.patch(Monolith, &order).json(&json!({"state": state}))).await;
        assert_eq!((status.as_u16(), &changed["state"]), (200, &json!(state)));
    }
    for state in ["open", "cancelled"] {
        let message = refusal(stage.patch(Monolith, &order).json(&json!({"state": state})), 409).await;
        assert!(message.contains("shipped"), "{message}");
    }
}

#[tokio::test]
async fn a_change_of_the_customer_leaves_the_rest() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    let order = order(&stage).await;
    let (_, changed) = answer(stage.patch(Monolith, &order).json(&json!({"customer": "Grace"}))).await;
    assert_eq!((&changed["customer"], &changed["state"]), (&json!("Grace"), &json!("open")));
    assert_eq!(answer(stage.get(Monolith, &order)).await.1, changed);
    refusal(stage.patch(Monolith, &order).json(&json!({"customer": ""})), 422).await;
    refusal(stage.patch(Monolith, &order).json(&json!({"state": "eaten"})), 422).await;
}

#[tokio::test]
async fn an_unknown_order_is_not_found() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    for path in ["/orders/0190d1a0-0000-7000-8000-000000000000", "/orders/seven"] {
        refusal(stage.get(Monolith, path), 404).await;
        refusal(stage.patch(Monolith, path).json(&json!({})), 404).await;
    }
}

#[tokio::test]
async fn the_echo_shows_request_line_path_and_all_headers() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    let request =
        stage.get(Monolith, "/headers/a%20b?x=1").header("x-one", "1").header("x-many", "a").header("x-many", "b");
    let (_, echo) = answer(request).await;
    assert_eq!(echo["requestLine"], "GET /headers/a%20b?x=1 HTTP/1.1");
    assert_eq!((&echo["path"], &echo["query"]), (&json!("/headers/a%20b"), &json!("x=1")));
    assert_eq!((&echo["headers"]["x-one"], &echo["headers"]["x-many"]), (&json!("1"), &json!("a, b")));
}

#[tokio::test]
async fn info_names_service_and_version() {
    let folder = folder();
    let stage = Stage::open(&[Monolith], folder.path()).await;
    let (_, info) = answer(stage.get(Monolith, "/info")).await;
    assert_eq!((&info["service"], &info["version"]), (&json!("monolith"), &json!("v1")));
}
