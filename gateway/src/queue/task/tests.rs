//! Records and callbacks over a real database, on a clock that the test moves.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::{Clock, ManualClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Id, TaskStatus, Timestamp};
use gateway_config::store::{self, Reported, Store};
use prometheus::IntCounter;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::record::{Names, Said};
use super::{Claim, NewTask, TaskId, TaskKeys, Tasks};

const HOUR: Duration = Duration::from_hours(1);

struct Bench {
    dir: TempDir,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    keys: TaskKeys,
    dropped: IntCounter,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
}

impl Bench {
    async fn new() -> Self {
        let dir = TempDir::with_prefix("gatehouse-tasks-").unwrap();
        let store = store::open(&format!("sqlite://{}", dir.path().join("gateway.db").display())).await.unwrap();
        store.migrate().await.unwrap();
        // Ids carry the real time.
        let clock = Arc::new(ManualClock::at(gateway_config::clock::SystemClock.now()));
        let (dropped, stop) = (IntCounter::new("dropped", "x").unwrap(), CancellationToken::new());
        let ended = Arc::<Notify>::default();
        let (tasks, keeping) = Tasks::open(store.clone(), clock.clone(), HOUR, dropped.clone(), ended, &stop);
        let keys = TaskKeys::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap());
        Self { dir, store, clock, tasks, keys, dropped, stop, keeping }
    }

    fn id(&self) -> TaskId {
        self.keys.fresh(Id::new(new_id()), Id::new(new_id()))
    }

    fn new_task(&self, id: TaskId, body: &str) -> NewTask {
        NewTask {
            id,
            queue: "mail".to_owned(),
            application: Some("shop".to_owned()),
            subject: None,
            body_hash: body.to_owned(),
            callback_url: None,
            is_idempotent: false,
            created_at: self.clock.now(),
        }
    }

    async fn report(&self, id: &TaskId, status: TaskStatus) -> Reported {
        let said = Said { status, result: Some(json!({"n": 1})), error: None };
        self.tasks.report(id, said, Names { queue: "mail".to_owned(), application: None }).await.unwrap()
    }

    async fn end(self) -> (TempDir, Arc<dyn Store>, IntCounter) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.keeping).await.unwrap().unwrap();
        (self.dir, self.store, self.dropped)
    }
}

#[tokio::test]
async fn notes_are_written_at_the_end_at_the_latest() {
    let bench = Bench::new().await;
    let ids: Vec<TaskId> = (0..700).map(|_| bench.id()).collect();
    for id in &ids {
        bench.tasks.note(bench.new_task(*id, "a")).await;
    }
    let (_dir, store, dropped) = bench.end().await;
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!((store.tasks(&ids).await.unwrap().len(), dropped.get()), (700, 0));
}

#[tokio::test]
async fn a_claim_that_was_never_published_is_free_and_one_that_was_holds() {
    let bench = Bench::new().await;
    let id = bench.keys.derived(Id::new(new_id()), Id::new(new_id()), "", "k");
    let task = NewTask { is_idempotent: true, ..bench.new_task(id, "a") };
    assert_eq!(bench.tasks.claim(&task).await, Claim::New);
    assert_eq!(bench.tasks.claim(&task).await, Claim::New, "the first may have died before it was published");
    assert_eq!(bench.tasks.claim(&NewTask { body_hash: "b".to_owned(), ..task.clone() }).await, Claim::OtherBody);
    bench.tasks.note(task.clone()).await;
    assert_eq!(bench.tasks.claim(&task).await, Claim::Same("queued"), "it is marked at once, not behind");
    bench.report(&id, TaskStatus::Succeeded).await;
    assert_eq!(bench.tasks.claim(&task).await, Claim::Same("succeeded"));
    bench.end().await;
}

#[tokio::test]
async fn while_the_database_is_away_nobody_waits_and_what_was_noted_is_written_later() {
    let bench = Bench::new().await;
    let (file, kept) = (bench.dir.path().join("runtime.db"), bench.dir.path().join("kept.db"));
    std::fs::rename(&file, &kept).unwrap();
    std::fs::create_dir(&file).unwrap();
    let task = bench.new_task(bench.id(), "a");
    bench.tasks.note(task.clone()).await;
    assert_eq!(bench.tasks.claim(&task).await, Claim::Unknown);
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&kept, &file).unwrap();
    let written = async {
        while !matches!(bench.tasks.find(&task.id).await, Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.unwrap();
    assert_eq!(bench.end().await.2.get(), 0);
}

#[tokio::test]
async fn a_follower_hears_of_reports_made_here_and_of_those_made_elsewhere_once_each() {
    let bench = Bench::new().await;
    let id = bench.id();
    let mut follower = bench.tasks.followers.follow(&id).unwrap();
    assert!(follower.seen().is_none());
    bench.report(&id, TaskStatus::Running).await;
    follower.changed().await;
    assert_eq!(follower.seen().unwrap().status, TaskStatus::Running);
    // As another gateway would.
    let mut task = bench.tasks.find(&id).await.unwrap().unwrap();
    task.status = TaskStatus::Failed;
    task.finished_at = Some(bench.clock.now());
    bench.store.report_task(&store::TaskReport { task }).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), follower.changed()).await.unwrap();
    assert_eq!(follower.seen().unwrap().status, TaskStatus::Failed);
    let more = tokio::time::timeout(Duration::from_millis(1200), follower.changed()).await;
    assert!(more.is_err(), "nothing is told twice");
    bench.end().await;
}

#[tokio::test]
async fn a_task_is_forgotten_by_its_age_where_its_id_tells_it() {
    let bench = Bench::new().await;
    let (fresh, derived) = (bench.id(), bench.keys.derived(Id::default(), Id::new(new_id()), "a", "k"));
    assert!(!bench.tasks.is_forgotten(&fresh));
    bench.clock.advance_millis(i64::try_from(HOUR.as_millis()).unwrap() + 60_000);
    assert!(bench.tasks.is_forgotten(&fresh) && !bench.tasks.is_forgotten(&derived));
    let reported = bench.report(&fresh, TaskStatus::Succeeded).await;
    let Reported::Changed(task) = reported else { panic!("{reported:?}") };
    assert!(task.expires_at > bench.clock.now(), "kept from its end on");
    let later = Timestamp::from_micros(task.expires_at.micros());
    assert_eq!(bench.store.expire_tasks(later, 9).await.unwrap(), 1);
    bench.end().await;
}
