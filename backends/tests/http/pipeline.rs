//! Jobs on their way, one permitted step at a time.

use std::time::Duration;

use backends::services::Name::Pipeline;
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::stage::{Stage, answer, folder, refusal};

const PATIENCE: Duration = Duration::from_secs(30);

/// The events of one job, read from the stream as they come.
struct Events {
    response: Response,
    unread: String,
}

impl Events {
    async fn of(stage: &Stage, job: &str) -> Self {
        let response = stage.get(Pipeline, &format!("{job}/events")).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: String::new() }
    }

    /// The state that the next event tells, or nothing when the stream has ended.
    async fn next_state(&mut self) -> Option<String> {
        let read = async {
            loop {
                if let Some((event, rest)) = self.unread.split_once("\n\n") {
                    let told: Value =
                        serde_json::from_str(event.strip_prefix("event: state\ndata: ").unwrap()).unwrap();
                    self.unread = rest.to_owned();
                    return told["state"].as_str().map(str::to_owned);
                }
                let chunk = self.response.chunk().await.unwrap()?;
                self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        };
        timeout(PATIENCE, read).await.expect("the stream tells nothing")
    }
}

async fn submit(stage: &Stage) -> String {
    let (status, job) =
        answer(stage.post(Pipeline, "/jobs").json(&json!({"kind": "report", "input": {"year": 2026}}))).await;
    assert_eq!((status.as_u16(), &job["state"], &job["input"]), (202, &json!("queued"), &json!({"year": 2026})));
    format!("/jobs/{}", job["id"].as_str().unwrap())
}

async fn state(stage: &Stage, job: &str) -> Value {
    answer(stage.get(Pipeline, job)).await.1["state"].clone()
}

#[tokio::test]
async fn a_job_is_queued_runs_and_succeeds_and_its_events_tell_each_step() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    let job = submit(&stage).await;
    let mut events = Events::of(&stage, &job).await;
    for (index, expected) in ["queued", "running", "succeeded"].into_iter().enumerate() {
        if index > 0 {
            stage.steps.add_permits(1);
        }
        assert_eq!(events.next_state().await.as_deref(), Some(expected));
        assert_eq!(state(&stage, &job).await, expected);
    }
    assert_eq!(events.next_state().await, None);
}

#[tokio::test]
async fn who_follows_a_finished_job_hears_its_end_only() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    stage.steps.add_permits(2);
    let job = submit(&stage).await;
    let mut earlier = Events::of(&stage, &job).await;
    while earlier.next_state().await.is_some() {}
    let mut events = Events::of(&stage, &job).await;
    assert_eq!(events.next_state().await.as_deref(), Some("succeeded"));
    assert_eq!(events.next_state().await, None);
}

#[tokio::test]
async fn each_follower_hears_of_its_own_job() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    stage.steps.add_permits(4);
    for job in [submit(&stage).await, submit(&stage).await] {
        let (mut events, mut last) = (Events::of(&stage, &job).await, None);
        while let Some(state) = events.next_state().await {
            last = Some(state);
        }
        assert_eq!(last.as_deref(), Some("succeeded"));
    }
}

#[tokio::test]
async fn a_job_that_was_running_when_the_process_ended_starts_anew() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    let job = submit(&stage).await;
    let mut events = Events::of(&stage, &job).await;
    assert_eq!(events.next_state().await.as_deref(), Some("queued"));
    stage.steps.add_permits(1);
    assert_eq!(events.next_state().await.as_deref(), Some("running"));
    stage.server.stop().await.unwrap();

    let stage = Stage::open(&[Pipeline], folder.path()).await;
    assert_eq!(state(&stage, &job).await, "queued");
    stage.steps.add_permits(2);
    let (mut events, mut last) = (Events::of(&stage, &job).await, None);
    while let Some(state) = events.next_state().await {
        last = Some(state);
    }
    assert_eq!(last.as_deref(), Some("succeeded"));
}

#[tokio::test]
async fn an_open_stream_does_not_keep_the_process() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    let job = submit(&stage).await;
    let mut events = Events::of(&stage, &job).await;
    assert_eq!(events.next_state().await.as_deref(), Some("queued"));
    // A stream that had to be cut off would still be open now.
    stage.server.stop().await.unwrap();
    assert_eq!(events.next_state().await, None);
}

#[tokio::test]
async fn a_job_without_kind_is_refused_and_an_unknown_one_not_found() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    for given in [
        json!({}),
        json!({"kind": ""}),
        json!({"kind": "x".repeat(101)}),
        json!({"kind": "report", "state": "succeeded"}),
    ] {
        refusal(stage.post(Pipeline, "/jobs").json(&given), 422).await;
    }
    for path in [
        "/jobs/0190d1a0-0000-7000-8000-000000000000",
        "/jobs/0190d1a0-0000-7000-8000-000000000000/events",
        "/jobs/seven",
    ] {
        refusal(stage.get(Pipeline, path), 404).await;
    }
}

#[tokio::test]
async fn info_names_service_and_version() {
    let folder = folder();
    let stage = Stage::open(&[Pipeline], folder.path()).await;
    let (_, info) = answer(stage.get(Pipeline, "/info")).await;
    assert_eq!((&info["service"], &info["version"]), (&json!("pipeline"), &json!("v1")));
}
