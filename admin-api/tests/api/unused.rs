//! Validation warns of keys and routes that nothing used lately.

use gateway_config::clock::Clock;
use gateway_config::model::{ApiKey, Id, Item, Kind, Route, Timestamp};
use serde_json::{Value, json};

use crate::client::{Admin, route};

const DAY_MILLIS: i64 = 24 * 3600 * 1000;

async fn warnings(admin: &Admin, body: Value) -> Vec<(String, String)> {
    let told = admin.post("/admin/config/validate").json(body).send().await.expect(200);
    let warnings = told.body["warnings"].as_array().unwrap().iter();
    let text = |warning: &Value, field: &str| warning[field].as_str().unwrap().to_owned();
    warnings.map(|warning| (text(warning, "path"), text(warning, "message"))).collect()
}

fn everything() -> Value {
    json!({"changes": []})
}

async fn id_of(admin: &Admin, name: &str) -> Id<Route> {
    match admin.store.get(Kind::Route, name).await.unwrap().unwrap() {
        Item::Route(route) => route.id,
        other => panic!("{other:?}"),
    }
}

fn days_ago(admin: &Admin, days: i64) -> Timestamp {
    Timestamp::from_micros(admin.clock.now().micros() - days * DAY_MILLIS * 1000)
}

#[tokio::test]
async fn routes_that_nothing_used_for_long_are_warned_of() {
    let admin = Admin::with_auth().await;
    admin.store.record_route_usage(&[], admin.clock.now()).await.unwrap();
    admin.clock.advance_millis(100 * DAY_MILLIS);
    admin.put("/admin/routing/routes/young").json(route("/young", "auth")).send().await.expect(201);
    let unused = || vec![("routes/auth".to_owned(), "nothing used it in the last 30 days".to_owned())];
    assert_eq!(warnings(&admin, everything()).await, unused(), "never used, and not the one that is new");

    let id = id_of(&admin, "auth").await;
    let used = async |days| {
        let moment = days_ago(&admin, days);
        admin.store.record_route_usage(&[(id, moment)], moment).await.unwrap();
    };
    used(31).await;
    assert_eq!(warnings(&admin, everything()).await, unused());
    used(29).await;
    assert_eq!(warnings(&admin, everything()).await, []);
}

#[tokio::test]
async fn nothing_is_called_unused_that_nobody_watched_for_long_enough() {
    let admin = Admin::with_auth().await;
    admin.clock.advance_millis(100 * DAY_MILLIS);
    assert_eq!(warnings(&admin, everything()).await, [], "no gateway wrote yet");
    admin.store.record_route_usage(&[], days_ago(&admin, 29)).await.unwrap();
    assert_eq!(warnings(&admin, everything()).await, []);
}

#[tokio::test]
async fn keys_that_nothing_used_for_long_are_warned_of() {
    let admin = Admin::with_auth().await;
    admin.store.record_route_usage(&[], admin.clock.now()).await.unwrap();
    let auth = id_of(&admin, "auth").await;
    admin.put("/admin/access/applications/shop").json(json!({})).send().await.expect(201);
    let keys = "/admin/access/applications/shop/keys";
    let mut made = Vec::new();
    for name in ["old", "never", "fresh", "revoked"] {
        made.push(admin.post(keys).json(json!({"name": name})).send().await.expect(201).body);
    }
    let prefix = |at: usize| made[at]["prefix"].as_str().unwrap().to_owned();
    let id = |at: usize| -> Id<ApiKey> { serde_json::from_value(made[at]["id"].clone()).unwrap() };
    let revoked = format!("{keys}/{}", made[3]["id"].as_str().unwrap());
    admin.delete(revoked).send().await.expect(204);
    admin.clock.advance_millis(100 * DAY_MILLIS);
    admin.store.record_route_usage(&[(auth, admin.clock.now())], admin.clock.now()).await.unwrap();
    let uses = [(id(0), days_ago(&admin, 93)), (id(2), days_ago(&admin, 1))];
    admin.store.record_key_usage(&uses).await.unwrap();
    let path = |at: usize| format!("applications/shop/apiKeys/{}", prefix(at));
    let mut expected = vec![
        (path(0), "was last used 93 days ago".to_owned()),
        (path(1), "was never used, and was made 100 days ago".to_owned()),
    ];
    expected.sort();
    assert_eq!(warnings(&admin, everything()).await, expected);
    // Only what the change names.
    let other = json!({"changes": [{"op": "put", "kind": "application", "name": "other", "value": {}}]});
    assert_eq!(warnings(&admin, other).await, []);
    let touched = json!({"applications": [{"name": "shop", "description": "x"}]});
    assert_eq!(warnings(&admin, touched.clone()).await, expected);
    let previewed = admin.post("/admin/preview").json(touched).send().await.expect(200);
    assert_eq!(previewed.body["warnings"].as_array().unwrap().len(), 2, "{}", previewed.text);
}
