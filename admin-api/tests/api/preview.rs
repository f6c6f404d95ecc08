//! A change is tried on recent traffic before it is made.

use gateway_config::model::{Sample, SampledCaller};
use serde_json::{Value, json};

use crate::client::{Admin, Answer};
use crate::traffic::{order, write};

/// A route `orders` that the application shop may use, and the service `auth` behind it.
async fn shop() -> Admin {
    let admin = Admin::with_auth().await;
    let route = json!({"path": "/orders/{id}", "target": {"service": "auth"}});
    admin.put("/admin/routing/routes/orders").json(route).send().await.expect(201);
    let shop = json!({"allowedServices": ["auth"], "allowedVersions": ["*"], "whitelist": [entry("/orders/{id}")]});
    admin.put("/admin/access/applications/shop").json(shop).send().await.expect(201);
    admin
}

fn entry(path: &str) -> Value {
    json!({"endpointPath": path, "allowedMethods": ["*"], "allowedVersions": ["*"]})
}

fn whitelist(entries: &[&str]) -> Value {
    let entries: Vec<Value> = entries.iter().map(|path| entry(path)).collect();
    json!({"op": "patch", "kind": "application", "name": "shop", "value": {"whitelist": entries}})
}

async fn ask(admin: &Admin, changes: Value) -> Answer {
    admin.post("/admin/preview").json(json!({"changes": changes})).send().await
}

#[tokio::test]
async fn thirty_one_a_minute_would_be_refused() {
    let admin = shop().await;
    let mut samples: Vec<Sample> = Vec::new();
    for ago in 0..12 {
        samples.push(Sample { weight: 2, ..order(&admin, 4 + ago).await });
    }
    samples.push(Sample { weight: 7, ..order(&admin, 60).await });
    let anonymous = SampledCaller::Anonymous;
    let mut refused = Sample { caller: anonymous, weight: 1000, ..order(&admin, 30).await };
    refused.outcome.code = Some("credentials_missing".to_owned());
    refused.outcome.status = 401;
    refused.outcome.application = None;
    samples.push(refused);
    write(&admin, &samples).await;
    let before = admin.store.head().await.unwrap();

    let told = ask(&admin, json!([whitelist(&["/other"])])).await.expect(200).body;
    let counts = ["sampled", "changed", "undecided"].map(|field| told[field].as_u64().unwrap());
    assert_eq!(counts, [14, 13, 0], "{told}");
    assert_eq!(told["minutes"], json!(1.0));
    let groups = told["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "{told}");
    let mut group = groups[0].clone();
    let examples = group.as_object_mut().unwrap().remove("examples").unwrap();
    assert_eq!(
        group,
        json!({
            "route": "orders", "application": "shop", "before": "200", "after": "403 endpoint_not_allowed",
            "perMinute": 31.0,
        })
    );
    assert_eq!(examples.as_array().unwrap().len(), 3);
    let first =
        json!({"at": samples[0].at, "method": "GET", "host": "a.com", "path": "/orders/{id}", "address": "10.0.0.1"});
    assert_eq!(examples[0], first, "the newest");
    assert_eq!(admin.store.head().await.unwrap(), before, "nothing is written");
}

#[tokio::test]
async fn the_groups_that_weigh_most_stand_first() {
    let admin = shop().await;
    let mut samples = Vec::new();
    for (weight, status) in [(3, 200), (5, 404), (4, 500)] {
        let mut sample = Sample { weight, ..order(&admin, 60).await };
        sample.outcome.status = status;
        samples.push(sample);
    }
    write(&admin, &samples).await;
    let told = ask(&admin, json!([whitelist(&[])])).await.expect(200).body;
    let groups = told["groups"].as_array().unwrap().iter();
    let told: Vec<_> = groups.map(|it| (it["before"].as_str().unwrap(), it["perMinute"].as_f64().unwrap())).collect();
    assert_eq!(told, [("404", 5.0), ("500", 4.0), ("200", 3.0)]);
}

#[tokio::test]
async fn a_change_that_does_nothing_to_traffic_changes_nothing() {
    let admin = shop().await;
    write(&admin, &[order(&admin, 10).await]).await;
    for changes in [json!([]), json!([whitelist(&["/orders/{*rest}"])]), json!([whitelist(&["/orders/{id}"])])] {
        let told = ask(&admin, changes).await.expect(200).body;
        assert_eq!(
            (&told["changed"], &told["undecided"], &told["groups"]),
            (&json!(0), &json!(0), &json!([])),
            "{told}"
        );
    }
}

#[tokio::test]
async fn what_depends_on_what_was_kept_back_is_undecided() {
    let admin = shop().await;
    write(&admin, &[order(&admin, 10).await]).await;
    let told = ask(&admin, json!([whitelist(&["/orders/7"])])).await.expect(200).body;
    assert_eq!((&told["changed"], &told["undecided"]), (&json!(0), &json!(1)), "{told}");
}

#[tokio::test]
async fn limits_and_issuers_are_not_previewable_and_the_rest_of_the_change_is() {
    let admin = shop().await;
    write(&admin, &[order(&admin, 10).await]).await;
    let limits = json!({"op": "patch", "kind": "route", "name": "orders", "value": {"limits": [{"requests": 1, "perSeconds": 1}]}});
    let issuer = json!({"issuer": "https://login", "algorithms": ["RS256"], "jwksUrl": "https://login/keys"});
    let issuer = json!({"op": "put", "kind": "issuer", "name": "login", "value": issuer});
    let told = ask(&admin, json!([limits, issuer, whitelist(&[])])).await.expect(200).body;
    let places: Vec<&str> =
        told["notPreviewable"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(places, ["issuers/login", "routes/orders/limits"], "{told}");
    assert_eq!(told["changed"], 1, "{told}");
}

#[tokio::test]
async fn a_whole_document_is_tried_too() {
    let admin = shop().await;
    write(&admin, &[order(&admin, 60).await]).await;
    let services = json!([{"serviceName": "auth", "defaultUrl": "http://127.0.0.1:7200", "isActive": false}]);
    let document = json!({"services": services});
    for body in [json!({"document": document}), document] {
        let told = admin.post("/admin/preview").json(body).send().await.expect(200).body;
        assert_eq!(told["groups"][0]["after"], "503 service_inactive", "{told}");
        assert!(!told["warnings"].as_array().unwrap().is_empty(), "{told}");
    }
}

#[tokio::test]
async fn a_change_that_does_not_compile_is_refused_as_by_validate() {
    let admin = shop().await;
    let ghost = json!({"op": "patch", "kind": "route", "name": "orders", "value": {"target": {"service": "ghost"}}});
    let refused = ask(&admin, json!([ghost])).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["routes/orders/target/service"]);
    ask(&admin, json!([{"op": "delete", "kind": "route", "name": "nobody"}])).await.refused(422, "invalid");
    admin.post("/admin/preview").json(json!({"chnges": []})).send().await.refused(422, "invalid");
    admin.post("/admin/preview?x=1").json(json!({"changes": []})).send().await.refused(422, "invalid");
    admin.post("/admin/preview").token(None).json(json!({"changes": []})).send().await.refused(401, "unauthorized");
}
