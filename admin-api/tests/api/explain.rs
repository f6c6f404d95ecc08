//! Explain: the gateway's own judgement, in words.

use serde_json::{Value, json};

use crate::client::{Admin, Answer, route};

async fn ask(admin: &Admin, question: Value) -> Answer {
    admin.post("/admin/explain").json(question).send().await
}

fn steps(answer: &Answer) -> Vec<(&str, &str)> {
    let trail = answer.body["trail"].as_array().unwrap().iter();
    trail.map(|step| (step["step"].as_str().unwrap(), step["result"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_forward_names_route_service_version_and_upstream() {
    let admin = Admin::with_auth().await;
    let versions = json!({"versions": [{"version": "v1", "url": "http://127.0.0.1:7200/base"}]});
    admin.patch("/admin/routing/services/auth").json(versions).send().await.expect(200);
    admin.patch("/admin/routing/routes/auth").json(json!({"rewrite": "/inner/{rest}"})).send().await.expect(200);
    let answer = ask(&admin, json!({"method": "GET", "path": "/auth//login?next=/"})).await.expect(200);
    let mut body = answer.body.clone();
    body.as_object_mut().unwrap().remove("trail");
    assert_eq!(
        body,
        json!({
            "outcome": "forward", "statusCode": null, "code": null, "route": "auth", "service": "auth", "version": "v1",
            "upstream": "http://127.0.0.1:7200/base", "queue": null,
        })
    );
    let expected =
        [("host", "any"), ("route", "matched"), ("access", "public"), ("version", "only"), ("rewrite", "rewritten")];
    assert_eq!(steps(&answer)[..5], expected);
    assert!(answer.text.contains("/inner/login"), "{}", answer.text);
}

#[tokio::test]
async fn refusals_carry_status_code_and_reason() {
    let admin = Admin::with_auth().await;
    admin.patch("/admin/routing/routes/auth").json(json!({"methods": ["GET"]})).send().await.expect(200);
    let private = json!({"path": "/private", "target": {"service": "auth"}});
    admin.put("/admin/routing/routes/private").json(private).send().await.expect(201);
    for (question, status, code) in [
        (json!({"method": "GET", "path": "/nope"}), 404, "route_not_found"),
        (json!({"method": "POST", "path": "/auth/x"}), 405, "method_not_allowed"),
        (json!({"method": "GET", "path": "/private"}), 401, "credentials_missing"),
        (json!({"method": "GET", "path": "/auth/x", "headers": {"X-API-Key": "gk_x"}}), 401, "credentials_invalid"),
        (
            json!({"method": "GET", "path": "/auth/x", "headers": {"authorization": "bearer x"}}),
            401,
            "credentials_invalid",
        ),
        (json!({"method": "GET", "path": "/auth/%2f"}), 400, "bad_request"),
        (json!({"method": "GET", "path": "/auth/%zz"}), 400, "bad_request"),
        (json!({"method": "GET", "path": "auth"}), 400, "bad_request"),
        (json!({"method": "GET", "path": "/auth/x", "host": "a b"}), 400, "bad_request"),
        (json!({"method": "GET", "path": "/auth/x", "host": "a", "headers": {"host": "b"}}), 400, "bad_request"),
    ] {
        let answer = ask(&admin, question).await.expect(200);
        assert_eq!(answer.body["outcome"], "refuse", "{}", answer.text);
        assert_eq!(
            (&answer.body["statusCode"], &answer.body["code"]),
            (&json!(status), &json!(code)),
            "{}",
            answer.text
        );
        assert_eq!(*steps(&answer).last().unwrap(), ("refused", code));
    }
    let basic = json!({"method": "GET", "path": "/auth/x", "headers": {"authorization": "Basic eDp5"}});
    assert_eq!(ask(&admin, basic).await.body["outcome"], "forward", "other schemes are the backend's business");
}

#[tokio::test]
async fn hosts_are_matched_as_the_gateway_does() {
    let admin = Admin::with_auth().await;
    let mut body = route("/auth/{*rest}", "auth");
    body["hosts"] = json!(["*.example.com"]);
    admin.put("/admin/routing/routes/wild").json(body).send().await.expect(201);
    let with = |host: &str| json!({"method": "GET", "path": "/auth/x", "host": host});
    assert_eq!(ask(&admin, with("Shop.Example.com:8080")).await.body["route"], "wild");
    assert_eq!(ask(&admin, with("example.org")).await.body["route"], "auth");
}

#[tokio::test]
async fn answers_redirects_and_queues_are_told_apart() {
    let admin = Admin::start().await;
    let queue = json!({"destination": {"deliverTo": "http://127.0.0.1:7300/"}});
    admin.put("/admin/routing/queues/orders").json(queue).send().await.expect(201);
    for (name, target) in [
        ("hello", json!({"respond": {"statusCode": 418}})),
        ("old", json!({"redirect": {"location": "/hello", "statusCode": 308}})),
        ("orders", json!({"queue": "orders"})),
    ] {
        let body = json!({"path": format!("/{name}"), "target": target, "access": {"anyOf": ["public"]}});
        admin.put(format!("/admin/routing/routes/{name}")).json(body).send().await.expect(201);
    }
    for (path, outcome, status, queue) in [
        ("/hello", "answer", 418, json!(null)),
        ("/old", "answer", 308, json!(null)),
        ("/orders", "publish", 202, json!("orders")),
    ] {
        let answer = ask(&admin, json!({"method": "POST", "path": path})).await.expect(200);
        assert_eq!((&answer.body["outcome"], &answer.body["statusCode"]), (&json!(outcome), &json!(status)));
        assert_eq!(answer.body["queue"], queue);
    }
}

#[tokio::test]
async fn a_proposed_change_is_explained_and_not_made() {
    let admin = Admin::with_auth().await;
    let change = json!({"op": "put", "kind": "route", "name": "new", "value": route("/new", "auth")});
    let question = json!({"method": "GET", "path": "/new", "changes": [change]});
    let answer = ask(&admin, question).await.expect(200);
    assert_eq!((&answer.body["outcome"], &answer.body["route"]), (&json!("forward"), &json!("new")));
    assert_eq!(ask(&admin, json!({"method": "GET", "path": "/new"})).await.body["code"], "route_not_found");
    assert_eq!(admin.store.head().await.unwrap().generation, 2);

    let ghost = json!({"op": "put", "kind": "route", "name": "new", "value": route("/new", "ghost")});
    let refused =
        ask(&admin, json!({"method": "GET", "path": "/new", "changes": [ghost]})).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["routes/new/target/service"]);
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_422_with_the_field() {
    let admin = Admin::with_auth().await;
    let asked = |field: &str, value: Value| {
        let mut question = json!({"method": "GET", "path": "/"});
        question[field] = value;
        ask(&admin, question)
    };
    for (field, value, path) in [
        ("method", json!("G T"), "method"),
        ("method", json!(7), "method"),
        ("address", json!("nowhere"), "address"),
        ("headers", json!({"a b": "c"}), "headers/a b"),
        ("headers", json!({"a": "b\nc"}), "headers/a"),
        ("metod", json!("GET"), "metod"),
        ("application", json!("nobody"), "application"),
        ("roles", json!("x"), "roles"),
        ("generation", json!(3), "generation"),
        ("changes", json!([{"op": "put"}]), "changes/0"),
        ("changes", json!([{"op": "put", "kind": "rout", "name": "x"}]), "changes/0/kind"),
        ("changes", json!({}), "changes"),
    ] {
        let refused = asked(field, value).await.refused(422, "invalid");
        assert_eq!(refused.problems(), [path], "{}", refused.text);
    }
    ask(&admin, json!({"method": "GET"})).await.refused(422, "invalid");
    ask(&admin, json!([])).await.refused(422, "invalid");
}

#[tokio::test]
async fn a_supposed_caller_is_judged_by_what_it_may_do() {
    let admin = Admin::with_auth().await;
    let route =
        json!({"path": "/private", "target": {"service": "auth"}, "limits": [{"requests": 5, "perSeconds": 60}]});
    admin.put("/admin/routing/routes/private").json(route).send().await.expect(201);
    let roles = json!({"path": "/roles", "target": {"service": "auth"},
        "access": {"anyOf": ["jwt"], "applicationRequired": false, "roles": ["admin"]}});
    admin.put("/admin/routing/routes/roles").json(roles).send().await.expect(201);
    let entry = json!({"endpointPath": "/private", "allowedMethods": ["GET"], "allowedVersions": ["*"]});
    let shop = json!({"allowedServices": ["auth"], "allowedVersions": ["*"], "whitelist": [entry]});
    admin.put("/admin/access/applications/shop").json(shop).send().await.expect(201);

    let asked = |path: &str, caller: Value| {
        let mut question = json!({"method": "GET", "path": path});
        question.as_object_mut().unwrap().extend(caller.as_object().unwrap().clone());
        ask(&admin, question)
    };
    let allowed = asked("/private", json!({"application": "shop"})).await.expect(200);
    assert_eq!(allowed.body["outcome"], "forward", "{}", allowed.text);
    let expected = [("access", "application"), ("endpoint", "allowed"), ("limit", "counted")];
    for step in expected {
        assert!(steps(&allowed).contains(&step), "{step:?}: {}", allowed.text);
    }
    for (path, caller, code) in [
        ("/auth/x/../../private2", json!({"application": "shop"}), "route_not_found"),
        ("/private", json!({"subject": "ann"}), "service_not_allowed"),
        ("/roles", json!({"application": "shop"}), "credentials_missing"),
        ("/roles", json!({"subject": "ann", "roles": ["user"]}), "role_missing"),
    ] {
        let refused = asked(path, caller).await.expect(200);
        assert_eq!(
            (&refused.body["outcome"], &refused.body["code"]),
            (&json!("refuse"), &json!(code)),
            "{}",
            refused.text
        );
    }
    let known = asked("/roles", json!({"subject": "ann", "roles": ["admin"]})).await.expect(200);
    assert_eq!(known.body["outcome"], "forward", "{}", known.text);
}

const SHOP: &str = "/admin/access/applications/shop";

/// A route `private` to `auth`, and an application `shop` that may use it.
async fn with_shop() -> Admin {
    let admin = Admin::with_auth().await;
    let private = json!({"path": "/private", "target": {"service": "auth"}});
    admin.put("/admin/routing/routes/private").json(private).send().await.expect(201);
    let entry = json!({"endpointPath": "/private", "allowedMethods": ["GET"], "allowedVersions": ["*"]});
    let shop = json!({"allowedServices": ["auth"], "allowedVersions": ["*"], "whitelist": [entry]});
    admin.put(SHOP).json(shop).send().await.expect(201);
    admin
}

async fn ask_with(admin: &Admin, key: &str) -> Answer {
    let question = json!({"method": "GET", "path": "/private", "headers": {"X-API-Key": key}});
    ask(admin, question).await.expect(200)
}

fn credentials(answer: &Answer) -> (&str, &str) {
    let steps = answer.body["trail"].as_array().unwrap();
    let step = steps.iter().find(|step| step["step"] == "credentials").unwrap_or_else(|| panic!("{}", answer.text));
    (step["result"].as_str().unwrap(), step["detail"].as_str().unwrap())
}

#[tokio::test]
async fn a_good_key_makes_its_application_the_caller() {
    let admin = with_shop().await;
    let key = admin.post(format!("{SHOP}/keys")).json(json!({"name": "till"})).send().await.expect(201);
    let answer = ask_with(&admin, key.body["key"].as_str().unwrap()).await;
    assert_eq!(answer.body["outcome"], "forward", "{}", answer.text);
    let prefix = key.body["prefix"].as_str().unwrap();
    assert_eq!(
        credentials(&answer),
        ("verified", &*format!("the API key {prefix} (\"till\") of application \"shop\""))
    );
    let order: Vec<&str> = steps(&answer).into_iter().map(|(step, _)| step).collect();
    assert_eq!(order[..4], ["host", "route", "credentials", "access"]);
    assert!(!answer.text.contains(key.body["key"].as_str().unwrap()), "{}", answer.text);
}

#[tokio::test]
async fn a_key_that_is_not_good_is_refused_as_the_gateway_does_and_the_trail_says_why() {
    let admin = with_shop().await;
    let issue = |body: Value| admin.post(format!("{SHOP}/keys")).json(body).send();
    let (good, revoked) =
        (issue(json!({"name": "a"})).await.expect(201), issue(json!({"name": "b"})).await.expect(201));
    let ending = issue(json!({"name": "c", "expiresAt": "2026-11-18T11:06:41Z"})).await.expect(201);
    admin.delete(format!("{SHOP}/keys/{}", revoked.body["prefix"].as_str().unwrap())).send().await.expect(204);
    admin.clock.advance_millis(2000);
    let key = |answer: &Answer| answer.body["key"].as_str().unwrap().to_owned();
    let mistyped = key(&good).replacen(&key(&good)[20..21], if &key(&good)[20..21] == "x" { "y" } else { "x" }, 1);
    let unknown =
        gateway_config::api_key::generate(&gateway_config::api_key::ChecksumKey::of(&crate::client::master_key()));
    for (key, code, why) in [
        ("gk_x".to_owned(), "credentials_invalid", "has not the shape of one"),
        (mistyped, "credentials_invalid", "has a wrong checksum"),
        (unknown.text.expose().to_owned(), "credentials_invalid", "is not known"),
        (key(&revoked), "credentials_invalid", "was revoked"),
        (key(&ending), "key_expired", "expired at 2026-11-18T11:06:41Z"),
    ] {
        let answer = ask_with(&admin, &key).await;
        assert_eq!(
            (&answer.body["outcome"], &answer.body["code"]),
            (&json!("refuse"), &json!(code)),
            "{}",
            answer.text
        );
        let (result, detail) = credentials(&answer);
        assert!(result == code && detail.contains(why), "{}", answer.text);
    }
    let nowhere = json!({"method": "GET", "path": "/nowhere", "headers": {"X-API-Key": key(&good)}});
    let nowhere = ask(&admin, nowhere).await.expect(200);
    assert!(!nowhere.text.contains("\"credentials\""), "where nothing is found nobody looks: {}", nowhere.text);
    let twice = json!({"X-API-Key": key(&good), "x-api-key": key(&good)});
    let twice = ask(&admin, json!({"method": "GET", "path": "/private", "headers": twice})).await.expect(200);
    assert_eq!(credentials(&twice), ("credentials_invalid", "the same header is there twice"));
    let twice = json!({"X-API-Key": key(&good), "Authorization": "Basic eDp5", "authorization": "Basic eDp5"});
    let twice = ask(&admin, json!({"method": "GET", "path": "/private", "headers": twice})).await.expect(200);
    assert_eq!(twice.body["code"], "credentials_invalid");
}

#[tokio::test]
async fn a_key_with_a_right_checksum_and_a_wrong_secret_is_not_good() {
    let admin = with_shop().await;
    let checksum = gateway_config::api_key::ChecksumKey::of(&crate::client::master_key());
    let (one, other) = (gateway_config::api_key::generate(&checksum), gateway_config::api_key::generate(&checksum));
    // Another key's hash under this one's prefix.
    let hashed = gateway_config::api_key::Hasher::new(
        gateway_config::api_key::Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 },
        1,
    );
    let hashed = hashed.hash(&other).await.unwrap();
    let hashed = gateway_config::api_key::HashedKey { prefix: one.prefix.clone(), ..hashed };
    let chain = gateway_config::model::ChainKey::of(&crate::client::master_key());
    let changer = gateway_config::change::Changer::new(admin.store.clone(), admin.clock.clone(), chain);
    changer.issue_key("me", "shop", &hashed, "odd", None).await.unwrap();
    let answer = ask_with(&admin, one.text.expose()).await;
    let (result, detail) = credentials(&answer);
    assert!(result == "credentials_invalid" && detail.contains("has a wrong secret"), "{}", answer.text);
}

#[tokio::test]
async fn a_token_can_not_be_verified_and_the_trail_says_how_to_ask_instead() {
    let admin = with_shop().await;
    let key = admin.post(format!("{SHOP}/keys")).json(json!({"name": "till"})).send().await.expect(201);
    for headers in
        [json!({"authorization": "Bearer x"}), json!({"Authorization": "bearer x", "X-API-Key": key.body["key"]})]
    {
        let answer = ask(&admin, json!({"method": "GET", "path": "/private", "headers": headers})).await.expect(200);
        assert_eq!((&answer.body["outcome"], &answer.body["code"]), (&json!("refuse"), &json!("credentials_invalid")));
        assert!(answer.text.contains("application, subject, roles, scopes"), "{}", answer.text);
    }
    let supposed =
        json!({"method": "GET", "path": "/private", "application": "shop", "headers": {"authorization": "Bearer x"}});
    assert_eq!(ask(&admin, supposed).await.expect(200).body["outcome"], "forward", "who is supposed counts");
}

#[tokio::test]
async fn a_past_generation_is_explained_as_it_was() {
    let admin = with_shop().await;
    let versions = json!({"versions": [{"version": "v1", "url": "http://127.0.0.1:1"}]});
    admin.patch("/admin/routing/services/auth").json(versions).send().await.expect(200);
    admin.delete("/admin/routing/routes/auth").send().await.expect(204);
    let key = admin.post(format!("{SHOP}/keys")).json(json!({"name": "till"})).send().await.expect(201);
    let at = |generation: u64, path: &str| {
        let question = json!({"method": "GET", "path": path, "generation": generation});
        ask(&admin, question)
    };
    let first = at(2, "/auth/x").await.expect(200);
    assert_eq!((&first.body["route"], &first.body["version"]), (&json!("auth"), &json!(null)), "{}", first.text);
    assert_eq!(at(5, "/auth/x").await.expect(200).body["version"], "v1");
    assert_eq!(at(6, "/auth/x").await.expect(200).body["code"], "route_not_found");
    assert_eq!(at(1, "/auth/x").await.expect(200).body["code"], "route_not_found");

    let keyed =
        json!({"method": "GET", "path": "/private", "generation": 5, "headers": {"X-API-Key": key.body["key"]}});
    let keyed = ask(&admin, keyed).await.expect(200);
    assert_eq!(keyed.body["outcome"], "forward", "with the keys of today: {}", keyed.text);
    let before =
        json!({"method": "GET", "path": "/private", "generation": 3, "headers": {"X-API-Key": key.body["key"]}});
    assert_eq!(ask(&admin, before).await.expect(200).body["code"], "credentials_invalid", "there was no shop yet");

    let change = json!({"op": "put", "kind": "route", "name": "new", "value": route("/new", "auth")});
    let question = json!({"method": "GET", "path": "/new", "generation": 1, "changes": [change]});
    let tried = ask(&admin, question).await.expect(200);
    assert_eq!((&tried.body["route"], &tried.body["version"]), (&json!("new"), &json!(null)));
    let ghost = json!({"op": "delete", "kind": "route", "name": "auth"});
    let question =
        |generation: u64| json!({"method": "GET", "path": "/", "generation": generation, "changes": [ghost]});
    ask(&admin, question(2)).await.expect(200);
    assert_eq!(ask(&admin, question(1)).await.refused(422, "invalid").problems(), ["changes"]);
    for generation in [0, 99] {
        let refused = at(generation, "/").await.refused(422, "invalid");
        assert_eq!(refused.problems(), ["generation"]);
    }
    assert_eq!(admin.store.head().await.unwrap().generation, 7);
}
