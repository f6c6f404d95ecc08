//! Checks of the records of tasks.

use serde_json::{Value, json};

use crate::clock::new_id;
use crate::model::{Id, Task, TaskStatus, Timestamp};
use crate::store::{DueCallback, Reported, Result, TaskClaim, TaskReport, TaskSearch};

use super::Subject;

const URL: &str = "https://shop.example/done";

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn task(id: &str, micros: i64) -> Task {
    Task {
        id: id.to_owned(),
        queue: "mail".to_owned(),
        application: Some("shop".to_owned()),
        application_id: Some(Id::new(new_id())),
        subject: Some("ann".to_owned()),
        status: TaskStatus::Queued,
        body_hash: "abc".to_owned(),
        is_published: true,
        result: None,
        error: None,
        created_at: at(micros),
        updated_at: at(micros),
        finished_at: None,
        expires_at: at(micros + 1000),
        callback_url: None,
    }
}

/// What a node knows of a task whose record it does not have.
fn report(id: &str, status: TaskStatus, micros: i64, result: Value) -> TaskReport {
    let finished_at = status.is_final().then_some(at(micros));
    let result = Some(result).filter(|result| !result.is_null());
    let (body_hash, is_published) = (String::new(), false);
    TaskReport { task: Task { status, body_hash, is_published, result, finished_at, ..task(id, micros) } }
}

async fn read(subject: &dyn Subject, id: &str) -> Result<Task> {
    let mut found = subject.open().await.tasks(&[id.to_owned()]).await?;
    assert_eq!(found.len(), 1, "{id}");
    Ok(found.remove(0))
}

pub(super) async fn a_task_reads_back_and_what_is_not_there_is_left_out(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let full = Task { callback_url: Some(URL.to_owned()), ..task("full", 5) };
    let bare = Task { application: None, application_id: None, subject: None, ..task("bare", 6) };
    store.note_tasks(&[full.clone(), bare.clone()]).await?;
    assert_eq!(read(subject, "full").await?, full);
    assert_eq!(read(subject, "bare").await?, bare);
    // One comes twice, and the second time more is known of it.
    let again = Task { callback_url: Some(URL.to_owned()), ..task("m7", 7) };
    let many: Vec<Task> = (0..167).map(|number| task(&format!("m{number}"), 7)).collect();
    store.note_tasks(&[many.clone(), vec![again.clone()]].concat()).await?;
    assert_eq!(read(subject, "m7").await?.callback_url, again.callback_url);
    let ids: Vec<String> = many.iter().map(|task| task.id.clone()).chain(["ghost".to_owned()]).collect();
    assert_eq!(store.tasks(&ids).await?.len(), 167);
    assert_eq!(store.tasks(&[]).await?, []);
    Ok(())
}

pub(super) async fn a_status_goes_on_and_never_back(subject: &dyn Subject) -> Result<()> {
    use TaskStatus::{Failed, Queued, Running, Succeeded};
    let store = subject.open().await;
    store.note_tasks(&[task("t", 5)]).await?;
    let said = async |status, micros, result| {
        let reported = store.report_task(&report("t", status, micros, result)).await?;
        let (word, standing) = match reported {
            Reported::Changed(task) => ("changed", task),
            Reported::Same(task) => ("same", task),
            Reported::Late(task) => ("late", task),
        };
        assert_eq!(read(subject, "t").await?, standing);
        Ok::<_, crate::store::StoreError>((word, standing.status, standing.updated_at, standing.finished_at))
    };
    assert_eq!(said(Running, 6, Value::Null).await?, ("changed", Running, at(6), None));
    assert_eq!(said(Running, 7, Value::Null).await?, ("same", Running, at(6), None));
    assert_eq!(said(Queued, 7, Value::Null).await?, ("late", Running, at(6), None));
    assert_eq!(said(Succeeded, 8, json!({"n": 1})).await?, ("changed", Succeeded, at(8), Some(at(8))));
    assert_eq!(said(Succeeded, 9, json!({"n": 2})).await?, ("same", Succeeded, at(8), Some(at(8))));
    assert_eq!(said(Failed, 9, Value::Null).await?, ("late", Succeeded, at(8), Some(at(8))));
    assert_eq!(said(Running, 9, Value::Null).await?, ("late", Succeeded, at(8), Some(at(8))));
    let ended = read(subject, "t").await?;
    assert_eq!((ended.result, ended.expires_at), (Some(json!({"n": 1})), at(1008)));
    Ok(())
}

pub(super) async fn a_task_that_failed_can_be_opened_again_and_no_other(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let called = Task { callback_url: Some(URL.to_owned()), ..task("t", 5) };
    store.note_tasks(&[called.clone(), task("done", 5)]).await?;
    store.report_task(&report("t", TaskStatus::Failed, 8, Value::Null)).await?;
    store.report_task(&report("done", TaskStatus::Succeeded, 8, json!(1))).await?;
    for id in ["t", "done", "ghost"] {
        store.reopen_task(id, at(9)).await?;
    }
    let reopened = Task { updated_at: at(9), expires_at: at(1008), ..called };
    assert_eq!(read(subject, "t").await?, reopened);
    assert_eq!(read(subject, "done").await?.status, TaskStatus::Succeeded);
    assert_eq!(store.claim_callbacks(at(10), at(20), 9).await?, [], "it is not over");
    store.report_task(&report("t", TaskStatus::Succeeded, 11, Value::Null)).await?;
    let due = DueCallback { id: "t".to_owned(), attempts: 1 };
    assert_eq!(store.claim_callbacks(at(12), at(20), 9).await?, [due], "the new end is told");
    Ok(())
}

pub(super) async fn a_note_that_comes_after_the_end_adds_and_takes_nothing_away(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    store.report_task(&report("t", TaskStatus::Failed, 8, Value::Null)).await?;
    assert_eq!(store.claim_callbacks(at(9), at(20), 9).await?, [], "nobody is known to be called");
    let noted = Task { callback_url: Some(URL.to_owned()), body_hash: "h".to_owned(), ..task("t", 5) };
    store.note_tasks(std::slice::from_ref(&noted)).await?;
    let expected = Task {
        status: TaskStatus::Failed,
        updated_at: at(8),
        finished_at: Some(at(8)),
        expires_at: at(1008),
        ..noted.clone()
    };
    assert_eq!(read(subject, "t").await?, expected);
    let due = DueCallback { id: "t".to_owned(), attempts: 1 };
    assert_eq!(store.claim_callbacks(at(9), at(20), 9).await?, [due], "the end is told now");
    store.settle_callback("t", None).await?;
    store.note_tasks(&[noted]).await?;
    assert_eq!(store.claim_callbacks(at(99), at(100), 9).await?, [], "and once");
    Ok(())
}

pub(super) async fn an_id_is_claimed_by_one_body(subject: &dyn Subject) -> Result<()> {
    let (one, other) = (subject.open().await, subject.open().await);
    let claim = Task { is_published: false, ..task("t", 5) };
    let (first, second) = futures::join!(one.claim_task(&claim), other.claim_task(&claim));
    let (first, second) = (first?, second?);
    let unpublished = TaskClaim::Same { status: TaskStatus::Queued, is_published: false };
    assert!([(&first, &second), (&second, &first)].contains(&(&TaskClaim::New, &unpublished)), "{first:?} {second:?}");
    let changed = Task { body_hash: "other".to_owned(), ..claim.clone() };
    assert_eq!(one.claim_task(&changed).await?, TaskClaim::OtherBody);
    one.note_tasks(&[Task { created_at: at(9), ..task("t", 5) }]).await?;
    let published = TaskClaim::Same { status: TaskStatus::Queued, is_published: true };
    assert_eq!(other.claim_task(&claim).await?, published);
    assert_eq!(read(subject, "t").await?.created_at, at(5), "it was made when it was claimed");
    one.report_task(&report("t", TaskStatus::Running, 6, Value::Null)).await?;
    assert_eq!(other.claim_task(&claim).await?, TaskClaim::Same { status: TaskStatus::Running, is_published: true });
    Ok(())
}

pub(super) async fn a_search_finds_the_newest_first_page_by_page(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let mut tasks: Vec<Task> = (0..10).map(|number| task(&format!("t{number}"), 100 + number / 2)).collect();
    "sms".clone_into(&mut tasks[3].queue);
    tasks[4].application = None;
    store.note_tasks(&tasks).await?;
    store.report_task(&report("t5", TaskStatus::Running, 300, Value::Null)).await?;
    let found = async |search: TaskSearch| {
        let found = store.search_tasks(&search).await?;
        Ok::<_, crate::store::StoreError>(found.iter().map(|task| task.id.clone()).collect::<Vec<_>>().join(" "))
    };
    let all = || TaskSearch { limit: 100, ..TaskSearch::default() };
    assert_eq!(found(all()).await?, "t9 t8 t7 t6 t5 t4 t3 t2 t1 t0");
    assert_eq!(found(TaskSearch { limit: 3, ..all() }).await?, "t9 t8 t7");
    let after = Some((at(103), "t7".to_owned()));
    assert_eq!(found(TaskSearch { after, limit: 3, ..all() }).await?, "t6 t5 t4");
    assert_eq!(found(TaskSearch { queue: Some("sms".to_owned()), ..all() }).await?, "t3");
    assert_eq!(
        found(TaskSearch { application: Some("shop".to_owned()), limit: 6, ..all() }).await?,
        "t9 t8 t7 t6 t5 t3"
    );
    assert_eq!(found(TaskSearch { status: Some(TaskStatus::Running), ..all() }).await?, "t5");
    assert_eq!(found(TaskSearch { from: Some(at(101)), until: Some(at(102)), ..all() }).await?, "t3 t2");
    Ok(())
}

pub(super) async fn tasks_expire_in_portions(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    store.note_tasks(&[task("a", 1), task("b", 2), task("c", 3), task("d", 4)]).await?;
    assert_eq!(store.expire_tasks(at(1003), 2).await?, 2);
    assert_eq!(store.expire_tasks(at(1003), 2).await?, 1);
    assert_eq!(store.expire_tasks(at(1003), 2).await?, 0);
    assert_eq!(read(subject, "d").await?.id, "d");
    Ok(())
}

pub(super) async fn a_callback_is_due_from_the_end_until_it_is_settled(subject: &dyn Subject) -> Result<()> {
    let (one, other) = (subject.open().await, subject.open().await);
    one.note_tasks(&[Task { callback_url: Some(URL.to_owned()), ..task("t", 5) }, task("silent", 5)]).await?;
    for (id, status) in [("t", TaskStatus::Running), ("t", TaskStatus::Succeeded), ("silent", TaskStatus::Succeeded)] {
        assert_eq!(one.claim_callbacks(at(9), at(20), 9).await?, []);
        one.report_task(&report(id, status, 9, Value::Null)).await?;
        if id == "t" && status.is_final() {
            break;
        }
    }
    let (now, until) = (at(9), at(20));
    let (first, second) = futures::join!(one.claim_callbacks(now, until, 9), other.claim_callbacks(now, until, 9));
    let (first, second) = (first?, second?);
    assert_eq!(first.len() + second.len(), 1, "one gateway calls");
    let due = |attempts| vec![DueCallback { id: "t".to_owned(), attempts }];
    assert_eq!(one.claim_callbacks(at(20), at(30), 9).await?, due(2), "it died, another one calls");
    one.settle_callback("t", Some(at(50))).await?;
    assert_eq!(one.claim_callbacks(at(49), at(60), 9).await?, []);
    assert_eq!(other.claim_callbacks(at(50), at(60), 9).await?, due(3));
    other.settle_callback("t", None).await?;
    assert_eq!(one.claim_callbacks(at(i64::from(u32::MAX)), at(i64::MAX), 9).await?, []);
    Ok(())
}
