//! The history: listed, shown, compared, and gone back to.

use std::process::Command;

use gateway_config::model::{EntityChange, Kind, Timestamp};
use gateway_config::store::NewGeneration;
use serde_json::{Value, json};

use crate::client::{Admin, Answer, ROUTES, SERVICES, route};
use crate::serve::Served;

const GENERATIONS: &str = "/admin/config/generations";
const SHOP: &str = "/admin/access/applications/shop";

/// Generation 3 changes the service's weight, 4 adds a route, 5 takes it out again.
async fn with_history() -> Admin {
    let admin = Admin::with_auth().await;
    let versions =
        |weight: u32| json!({"versions": [{"version": "v1", "url": "http://127.0.0.1:1", "weight": weight}]});
    admin.patch(format!("{SERVICES}/auth")).json(versions(7)).send().await.expect(200);
    admin.put(format!("{ROUTES}/orders")).json(route("/orders", "auth")).send().await.expect(201);
    admin.delete(format!("{ROUTES}/orders")).send().await.expect(204);
    admin
}

fn numbers(list: &Answer) -> Vec<u64> {
    list.body["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

async fn diff(admin: &Admin, to: u64, query: &str) -> Answer {
    admin.get(format!("{GENERATIONS}/{to}/diff{query}")).send().await.expect(200)
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

async fn roll_back(admin: &Admin, to: u64) -> Answer {
    admin.post(format!("{GENERATIONS}/{to}/rollback")).send().await
}

#[tokio::test]
async fn generations_are_listed_the_newest_first_without_their_changes() {
    let admin = with_history().await;
    let first = admin.get(format!("{GENERATIONS}?limit=3")).send().await.expect(200);
    assert_eq!(numbers(&first), [5, 4, 3]);
    assert_eq!(
        first.body["items"][0],
        json!({"number": 5, "createdAt": "2026-11-18T11:06:40Z", "actor": "ADMIN_TOKEN", "summary": "delete route orders"})
    );
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let second = admin.get(format!("{GENERATIONS}?limit=3&cursor={cursor}")).send().await.expect(200);
    assert_eq!((numbers(&second), &second.body["nextCursor"]), (vec![2, 1], &json!(null)));
    admin.get(format!("{GENERATIONS}?limit=3")).header("if-none-match", first.header("etag")).send().await.expect(304);
    for (q, found) in [("ROUTE%20orders", vec![5, 4]), ("admin_token", vec![5, 4, 3, 2, 1]), ("100%25", vec![])] {
        assert_eq!(numbers(&admin.get(format!("{GENERATIONS}?q={q}")).send().await.expect(200)), found, "{q}");
    }
    for (query, field) in [("limit=0", "limit"), ("cursor=x", "cursor"), ("cursor=6162", "cursor"), ("page=2", "page")]
    {
        let refused = admin.get(format!("{GENERATIONS}?{query}")).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [field]);
    }
}

#[tokio::test]
async fn a_generation_shows_what_it_changed_before_and_after() {
    let admin = with_history().await;
    let third = admin.get(format!("{GENERATIONS}/3")).send().await.expect(200);
    let [change] = third.body["changes"].as_array().unwrap().as_slice() else { panic!("{}", third.text) };
    assert_eq!((&change["kind"], &change["name"]), (&json!("service"), &json!("auth")));
    assert_eq!((&change["before"]["versions"], &change["after"]["versions"][0]["weight"]), (&json!([]), &json!(7)));
    let tag = third.header("etag");
    admin.get(format!("{GENERATIONS}/3")).header("if-none-match", tag).send().await.expect(304);
    let made = admin.get(format!("{GENERATIONS}/4")).send().await.expect(200);
    assert_eq!(made.body["changes"][0]["before"], json!(null));
}

#[tokio::test]
async fn what_is_not_kept_is_not_found_and_the_answer_says_what_is() {
    let admin = with_history().await;
    assert_eq!(admin.store.forget_generations(3).await.unwrap(), 2);
    for (number, said) in [
        ("2", "there is no generation 2 any more; the oldest that is kept is 3"),
        ("0", "there is no generation 0 that was written; the oldest that is kept is 3"),
        ("6", "there is no generation 6; the newest is 5"),
        ("18446744073709551615", "there is no generation 18446744073709551615; the newest is 5"),
        ("x", "there is no generation \"x\""),
        ("-1", "there is no generation \"-1\""),
        ("+3", "there is no generation \"+3\""),
    ] {
        for answer in [
            admin.get(format!("{GENERATIONS}/{number}")).send().await,
            admin.get(format!("{GENERATIONS}/{number}/diff")).send().await,
            admin.post(format!("{GENERATIONS}/{number}/rollback")).send().await,
            admin.post(format!("{GENERATIONS}/{number}/rollback?dryRun=true")).send().await,
        ] {
            assert_eq!(answer.refused(404, "not_found").body["message"], said);
        }
    }
    // What the oldest one found is known, and no more.
    assert_eq!(names(&diff(&admin, 3, "").await.body["update"]), ["auth"]);
    diff(&admin, 5, "?from=2").await;
    for from in ["0", "1"] {
        let refused = admin.get(format!("{GENERATIONS}/5/diff?from={from}")).send().await.refused(404, "not_found");
        assert!(refused.body["message"].as_str().unwrap().contains("the oldest that is kept is 3"), "{}", refused.text);
    }
    let later = admin.get(format!("{GENERATIONS}/5/diff?from=9")).send().await.refused(404, "not_found");
    assert_eq!(later.body["message"], "there is no generation 9; the newest is 5");
    let wrong = admin.get(format!("{GENERATIONS}/5/diff?from=x")).send().await.refused(422, "invalid");
    assert_eq!(wrong.problems(), ["from"]);
}

#[tokio::test]
async fn a_diff_says_what_is_new_what_differs_and_what_is_gone() {
    let admin = with_history().await;
    let one = diff(&admin, 3, "").await;
    assert_eq!((&one.body["from"], &one.body["to"]), (&json!(2), &json!(3)));
    assert_eq!((&one.body["create"], &one.body["delete"]), (&json!([]), &json!([])));
    let update = &one.body["update"][0];
    assert_eq!((&update["kind"], &update["changed"]), (&json!("service"), &json!(["versions/v1"])));
    assert_eq!((&update["before"]["versions"], &update["after"]["versions"][0]["weight"]), (&json!([]), &json!(7)));

    let all = diff(&admin, 4, "?from=0").await;
    let created = |list: &Value| {
        let entities = list.as_array().unwrap().iter();
        entities
            .map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["name"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(created(&all.body["create"]), ["service auth", "route auth", "route orders"]);
    assert_eq!(all.body["create"][0]["value"]["versions"][0]["weight"], 7);
    assert_eq!((&all.body["update"], &all.body["delete"]), (&json!([]), &json!([])));

    let back = diff(&admin, 2, "?from=4").await;
    assert_eq!((names(&back.body["delete"]), names(&back.body["update"])), (vec!["orders"], vec!["auth"]));
    assert_eq!(back.body["update"][0]["after"]["versions"], json!([]));
    let nothing = diff(&admin, 5, "?from=3").await;
    assert_eq!(nothing.body, json!({"from": 3, "to": 5, "create": [], "update": [], "delete": []}));
    let same = admin.get(format!("{GENERATIONS}/5/diff?from=3")).header("if-none-match", nothing.header("etag"));
    same.send().await.expect(304);
}

#[tokio::test]
async fn a_rollback_writes_what_stood_there() {
    let admin = with_history().await;
    let before = admin.get("/admin/config/export").send().await.expect(200);
    let tried = admin.post(format!("{GENERATIONS}/2/rollback?dryRun=true")).send().await.expect(200);
    assert_eq!((tried.generation(), names(&tried.body["update"])), (5, vec!["auth"]));
    assert_eq!(admin.store.head().await.unwrap().generation, 5, "only asked");

    let done = roll_back(&admin, 2).await.expect(200);
    assert_eq!((done.generation(), &done.body["generation"], &done.body["dryRun"]), (6, &json!(6), &json!(false)));
    assert_eq!(done.body["update"][0]["changed"], json!(["versions/v1"]));
    assert_eq!((done.header("x-config-warnings"), &done.body["warnings"]), ("0", &json!([])));
    assert_eq!(admin.get(format!("{SERVICES}/auth")).send().await.body["versions"], json!([]));
    let line = admin.get(format!("{GENERATIONS}?limit=1")).send().await;
    assert_eq!(line.body["items"][0]["summary"], "roll back to generation 2");

    let again = roll_back(&admin, 2).await.expect(200);
    assert_eq!((again.generation(), &again.body["update"]), (6, &json!([])), "it stands already");
    let undone = roll_back(&admin, 5).await.expect(200);
    assert_eq!(undone.generation(), 7);
    let after = admin.get("/admin/config/export").send().await.expect(200);
    assert_eq!((after.header("etag"), undone.header("etag")), (before.header("etag"), before.header("etag")));
}

#[tokio::test]
async fn a_rollback_waits_for_nodes_like_any_write() {
    let admin = with_history().await;
    let node = admin.report(5).await;
    let late = admin.post(format!("{GENERATIONS}/2/rollback?wait=50ms")).send().await.expect(202);
    assert_eq!((late.generation(), late.header("x-config-applied")), (6, "0/1"));
    assert_eq!(late.body["waitingFor"][0]["node"], json!(node.id));
    assert_eq!(names(&late.body["update"]), ["auth"], "what was done is told whatever the nodes do");
}

#[tokio::test]
async fn a_rollback_under_a_condition_is_refused_when_somebody_wrote() {
    let admin = with_history().await;
    let tag = admin.get("/admin/config/export").send().await.expect(200).header("etag").to_owned();
    let with = |tag: &str| admin.post(format!("{GENERATIONS}/2/rollback")).header("if-match", tag).send();
    let tried = admin.post(format!("{GENERATIONS}/2/rollback?dryRun=true")).header("if-match", &tag).send().await;
    tried.expect(200);
    admin.put(format!("{ROUTES}/late")).json(route("/late", "auth")).send().await.expect(201);
    with(&tag).await.refused(412, "stale");
    assert_eq!(admin.store.head().await.unwrap().generation, 6);
    with("*").await.expect(200);
}

#[tokio::test]
async fn a_rollback_brings_no_key_back_and_says_so() {
    let admin = Admin::start().await;
    admin.put(SHOP).json(json!({"description": "one"})).send().await.expect(201);
    let key = admin.post(format!("{SHOP}/keys")).json(json!({"name": "till"})).send().await.expect(201);
    let key = format!("{SHOP}/keys/{}", key.body["id"].as_str().unwrap());
    admin.delete(&key).send().await.expect(204);
    let back = roll_back(&admin, 2).await.expect(200);
    assert_eq!((back.generation(), &back.body["update"]), (3, &json!([])), "only a key differed");
    assert_eq!(admin.get(&key).send().await.body["isActive"], false);
    assert_eq!(back.body["warnings"][0]["path"], "applications/shop/apiKeys");

    admin.delete(SHOP).send().await.expect(204);
    let back = roll_back(&admin, 2).await.expect(200);
    assert_eq!((back.generation(), names(&back.body["create"])), (5, vec!["shop"]));
    assert_eq!(back.header("x-config-warnings"), "1");
    assert!(back.body["warnings"][0]["message"].as_str().unwrap().contains("gone for good"), "{}", back.text);
    assert_eq!(admin.get(format!("{SHOP}/keys")).send().await.expect(200).body["items"], json!([]));
    assert_eq!(admin.get(SHOP).send().await.body["description"], "one");
}

#[tokio::test]
async fn no_answer_of_the_history_holds_a_hash() {
    let admin = Admin::start().await;
    admin.put(SHOP).json(json!({})).send().await.expect(201);
    admin.post(format!("{SHOP}/keys")).json(json!({"name": "till"})).send().await.expect(201);
    admin.delete(SHOP).send().await.expect(204);
    for path in [
        format!("{GENERATIONS}/2"),
        format!("{GENERATIONS}/3"),
        format!("{GENERATIONS}/2/diff"),
        format!("{GENERATIONS}/2/diff?from=3"),
        "/admin/audit".to_owned(),
    ] {
        let answer = admin.get(&path).send().await.expect(200);
        assert!(answer.text.contains("till"), "{}", answer.text);
        assert!(!answer.text.contains("argon2") && !answer.text.contains("apiKeyHash"), "{path}: {}", answer.text);
    }
    let back = roll_back(&admin, 2).await.expect(200);
    assert!(!back.text.contains("argon2"), "{}", back.text);
}

/// As a program did that took what this one does not.
#[tokio::test]
async fn a_rollback_that_would_not_compile_is_refused_with_its_problems() {
    let admin = with_history().await;
    let head = admin.store.head().await.unwrap();
    let change = EntityChange {
        kind: Kind::Route,
        name: "old".to_owned(),
        before: Some(json!({"name": "old", "path": "no-slash", "target": {"service": "auth"}})),
        after: None,
    };
    let lie = NewGeneration {
        number: head.generation + 1,
        digest: head.digest,
        created_at: Timestamp::default(),
        actor: "me".to_owned(),
        summary: "delete route old".to_owned(),
        changes: vec![change],
    };
    admin.store.begin().await.unwrap().commit(&lie).await.unwrap();
    let refused = roll_back(&admin, 4).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["routes/old/path"]);
    let tried = admin.post(format!("{GENERATIONS}/4/rollback?dryRun=true")).send().await.refused(422, "invalid");
    assert_eq!(tried.problems(), ["routes/old/path"]);
    let question = json!({"method": "GET", "path": "/", "generation": 4});
    admin.post("/admin/explain").json(question).send().await.refused(422, "invalid");
    assert_eq!(admin.store.head().await.unwrap().generation, 6);
}

#[tokio::test]
async fn unknown_parameters_of_a_rollback_are_refused() {
    let admin = with_history().await;
    for (query, field) in [("dryrun=true", "dryrun"), ("dryRun=yes", "dryRun"), ("wait=x", "wait"), ("from=1", "from")]
    {
        let refused = admin.post(format!("{GENERATIONS}/2/rollback?{query}")).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [field]);
    }
    assert_eq!(admin.store.head().await.unwrap().generation, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_forgets_what_is_older_than_it_is_told_to_keep() {
    let admin = with_history().await;
    let url = format!("sqlite://{}", admin.dir().join("gateway.db").display());
    let _served = Served::start_with(admin.dir(), &url, &[("GATEWAY_KEEP_GENERATIONS", "2")]);
    while admin.store.oldest_generation().await.unwrap() != Some(4) {
        tokio::task::yield_now().await;
    }
    let kept = admin.get(GENERATIONS).send().await.expect(200);
    assert_eq!(numbers(&kept), [5, 4]);
    assert_eq!(
        admin.get("/admin/audit?action=config.write").send().await.body["items"].as_array().unwrap().len(),
        5,
        "the audit stays whole"
    );
    let none =
        Command::new(env!("CARGO_BIN_EXE_admin-api")).args(["serve", "--keep-generations", "0"]).output().unwrap();
    assert_eq!(none.status.code(), Some(2));
}
