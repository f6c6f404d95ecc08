//! Tasks as operators find them.

use gateway_config::clock::{Clock, new_id};
use gateway_config::model::{Id, Task, TaskStatus, Timestamp};
use serde_json::{Value, json};

use crate::client::{Admin, Answer};

const SECOND: i64 = 1_000_000;

/// A task of the application shop that succeeded, made so many seconds ago.
fn task(admin: &Admin, id: &str, seconds_ago: i64) -> Task {
    let at = |ago| Timestamp::from_micros(admin.clock.now().micros() - ago * SECOND);
    Task {
        id: id.to_owned(),
        queue: "mails".to_owned(),
        application: Some("shop".to_owned()),
        application_id: Some(Id::new(new_id())),
        subject: Some("ann".to_owned()),
        status: TaskStatus::Succeeded,
        body_hash: "hash-of-the-body".to_owned(),
        is_published: true,
        result: Some(json!({"sent": "to ann"})),
        error: None,
        created_at: at(seconds_ago),
        updated_at: at(seconds_ago - 1),
        finished_at: Some(at(seconds_ago - 1)),
        expires_at: at(-600),
        callback_url: Some("https://shop.example/done?token=t0ps3cret".to_owned()),
    }
}

async fn list(admin: &Admin, query: &str) -> Answer {
    admin.get(format!("/admin/tasks{query}")).send().await
}

#[tokio::test]
async fn tasks_are_listed_the_newest_first_page_by_page() {
    let admin = Admin::start().await;
    let tasks = [("a", 30), ("b_-", 10), ("c", 10), ("d", 20)].map(|(id, ago)| task(&admin, id, ago));
    admin.store.note_tasks(&tasks).await.unwrap();
    assert_eq!(list(&admin, "").await.expect(200).names("id"), ["c", "b_-", "d", "a"]);
    let (mut seen, mut query) = (Vec::new(), "?limit=1".to_owned());
    loop {
        let page = list(&admin, &query).await.expect(200);
        seen.extend(page.names("id").into_iter().map(str::to_owned));
        let Some(cursor) = page.body["nextCursor"].as_str() else { break };
        query = format!("?limit=1&cursor={cursor}");
    }
    assert_eq!(seen, ["c", "b_-", "d", "a"]);
}

#[tokio::test]
async fn tasks_are_found_by_queue_application_status_and_time() {
    let admin = Admin::start().await;
    let first = Task { queue: "orders".to_owned(), ..task(&admin, "first", 30) };
    let second = Task { application: None, status: TaskStatus::Queued, ..task(&admin, "second", 20) };
    let third = task(&admin, "third", 10);
    let at = second.created_at;
    admin.store.note_tasks(&[first, second, third]).await.unwrap();
    for (query, expected) in [
        ("?queue=orders".to_owned(), vec!["first"]),
        ("?application=shop".to_owned(), vec!["third", "first"]),
        ("?application=shop&queue=mails".to_owned(), vec!["third"]),
        ("?status=queued".to_owned(), vec!["second"]),
        (format!("?since={at}"), vec!["third", "second"]),
        (format!("?until={at}"), vec!["first"]),
    ] {
        assert_eq!(list(&admin, &query).await.expect(200).names("id"), expected, "{query}");
    }
}

#[tokio::test]
async fn a_task_is_shown_without_secrets_and_what_its_worker_said_to_operators_alone() {
    let admin = Admin::start().await;
    let task = task(&admin, "t1", 10);
    admin.store.note_tasks(std::slice::from_ref(&task)).await.unwrap();
    let shown = admin.get("/admin/tasks/t1").send().await.expect(200);
    let mut expected: Value = json!(task);
    for gone in ["bodyHash", "error"] {
        expected.as_object_mut().unwrap().remove(gone);
    }
    expected["callbackUrl"] = json!("https://shop.example/done");
    assert_eq!(shown.body, expected);

    admin.person("viewer@example.com", "viewer").await;
    let viewer = admin.login("viewer@example.com").await.access;
    let seen = admin.get("/admin/tasks/t1").token(Some(&viewer)).send().await.expect(200);
    expected.as_object_mut().unwrap().remove("result");
    assert_eq!(seen.body, expected);
    assert_eq!(list(&admin, "").await.body["items"], json!([expected]), "a list tells no results");
    let known = admin.get("/admin/tasks/t1").header("if-none-match", shown.header("etag")).send().await;
    known.expect(304);
}

#[tokio::test]
async fn a_task_without_a_record_is_not_there() {
    let admin = Admin::start().await;
    for id in ["t1", "%00", "%27", "a.b", "%F0%9F%90%8C"] {
        admin.get(format!("/admin/tasks/{id}")).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn parameters_that_mean_nothing_are_refused_with_their_names() {
    let admin = Admin::start().await;
    for (query, name) in [
        ("?q=x", "q"),
        ("?limit=501", "limit"),
        ("?status=done", "status"),
        ("?since=yesterday", "since"),
        ("?until=1", "until"),
        ("?queue=%00", "queue"),
        ("?cursor=zz", "cursor"),
        ("?cursor=312e2e", "cursor"),
    ] {
        assert_eq!(list(&admin, query).await.refused(422, "invalid").problems(), [name], "{query}");
    }
}
