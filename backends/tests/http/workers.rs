//! Workers as the gateway sees them: it pushes signed messages, takes their answers, and hears how tasks end.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use backends::{
    clock::Clock,
    services::Name::{self, Ai, Analytics, Email, Execution, Sms},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use crate::stage::{SECRET, Stage, folder, refusal};

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers every request with the statuses of a list, the last one again and again, and keeps what it got.
struct Listener {
    url: String,
    got: Arc<Got>,
}

#[derive(Default)]
struct Got {
    all: Mutex<Vec<(HeaderMap, Value)>>,
    answers: Vec<u16>,
    asked: AtomicUsize,
}

impl Listener {
    async fn start(answers: &[u16]) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/status", socket.local_addr().unwrap());
        let got = Arc::new(Got { answers: answers.to_vec(), ..Got::default() });
        let router = Router::new().route("/status", post(take)).with_state(got.clone());
        tokio::spawn(axum::serve(socket, router).into_future());
        Self { url, got }
    }

    fn all(&self) -> Vec<(HeaderMap, Value)> {
        self.got.all.lock().unwrap().clone()
    }

    /// What was reported, without the beginnings.
    fn ends(&self) -> Vec<Value> {
        self.all().into_iter().map(|(_, body)| body).filter(|body| body["status"] != "running").collect()
    }

    async fn wait_ends(&self, count: usize) -> Vec<Value> {
        let waiting = async {
            while self.ends().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{count} ends, not {:?}", self.ends()));
        self.ends()
    }
}

async fn take(State(got): State<Arc<Got>>, headers: HeaderMap, Json(body): Json<Value>) -> StatusCode {
    let is_begin = body["status"] == "running";
    got.all.lock().unwrap().push((headers, body));
    if is_begin {
        return StatusCode::OK;
    }
    let asked = got.asked.fetch_add(1, Ordering::SeqCst);
    let answer = got.answers.get(asked).or(got.answers.last()).copied().unwrap_or(200);
    StatusCode::from_u16(answer).unwrap()
}

fn event(id: &str, queue: &str, gateway: &Listener, data: &Value) -> String {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/gatehouse/routes/r", "type": format!("gatehouse.queue.{queue}"),
        "subject": "/r", "time": "2026-11-21T16:00:00Z", "datacontenttype": "application/json",
        "statusurl": gateway.url, "tasktoken": "token-of-the-task", "data": data,
    });
    event.to_string()
}

fn signed(id: &str, body: &str) -> [(&'static str, String); 3] {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let seconds = Clock::default().now_ms() / 1000;
    let content = format!("{id}.{seconds}.{body}");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), content.as_bytes());
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", format!("v1,{}", STANDARD.encode(signature))),
    ]
}

/// Pushes as the gateway does; the status of the answer.
async fn push(stage: &Stage, worker: Name, id: &str, body: &str) -> u16 {
    let mut request = stage.post(worker, "/any/path").body(body.to_owned());
    for (name, value) in signed(id, body) {
        request = request.header(name, value);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_signed_message_is_worked_on_and_reported_with_the_tasks_token() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let stage = Stage::open(&[Execution, Ai], folder.path()).await;
    let work = event("t1", "programs", &gateway, &json!({"program": "1 + n", "input": {"n": 2}}));
    assert_eq!(push(&stage, Execution, "t1", &work).await, 204);
    assert_eq!(gateway.wait_ends(1).await, [json!({"status": "succeeded", "result": {"value": 3.0}})]);
    let (headers, first) = gateway.all().remove(0);
    assert_eq!(headers["authorization"], "Bearer token-of-the-task");
    assert_eq!(first, json!({"status": "running"}));

    let text = json!({"text": "Queues carry work. It rains.", "sentences": 1});
    assert_eq!(push(&stage, Ai, "t2", &event("t2", "texts", &gateway, &text)).await, 204);
    assert_eq!(gateway.wait_ends(2).await[1]["result"]["summary"], "Queues carry work.");
}

#[tokio::test]
async fn what_is_not_signed_for_this_worker_is_refused_and_not_done() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let stage = Stage::open(&[Execution], folder.path()).await;
    let work = event("t1", "programs", &gateway, &json!({"program": "1"}));
    refusal(stage.post(Execution, "/").body(work.clone()), 401).await;
    assert_eq!(push(&stage, Execution, "t1", &work).await, 204);
    let forged = stage.post(Execution, "/").body(work.replace("t1", "t2"));
    let forged = signed("t1", &work).into_iter().fold(forged, |request, (name, value)| request.header(name, value));
    refusal(forged, 401).await;
    assert_eq!(gateway.wait_ends(1).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_comes_again_or_twice_at_once_is_done_once_and_reported_again() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let provider = Listener::start(&[202]).await;
    let url = provider.url.clone();
    let stage =
        Stage::with("http://127.0.0.1:1/", &[Sms], folder.path(), |plan| plan.workers.sms_url = Some(url)).await;
    let order = event("t1", "texts", &gateway, &json!({"to": "+491701234567", "text": "Hello"}));
    let at_once = (0..8).map(|_| push(&stage, Sms, "t1", &order));
    assert_eq!(futures::future::join_all(at_once).await, [204; 8]);
    let reported = gateway.wait_ends(1).await.len();
    assert_eq!(push(&stage, Sms, "t1", &order).await, 204);
    let ends = gateway.wait_ends(reported + 1).await;
    assert!(ends.iter().all(|end| end["status"] == "succeeded"), "{ends:?}");
    assert_eq!(provider.all().len(), 1);
}

#[tokio::test]
async fn each_task_is_counted_once() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let stage = Stage::open(&[Analytics], folder.path()).await;
    for (id, key, total) in [("t1", "signup", 2), ("t1", "signup", 2), ("t2", "signup", 4), ("t3", "other", 2)] {
        let before = gateway.ends().len();
        let count = event(id, "counts", &gateway, &json!({"key": key, "count": 2}));
        assert_eq!(push(&stage, Analytics, id, &count).await, 204);
        let ends = gateway.wait_ends(before + 1).await;
        let end = json!({"status": "succeeded", "result": {"key": key, "total": total}});
        assert_eq!(ends.last(), Some(&end));
    }
}

#[tokio::test]
async fn what_was_done_before_a_new_start_is_not_done_again() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let (provider, stage, said) = text_message(folder.path(), &[202], "t1", &gateway).await;
    assert_eq!((said, provider.all().len()), (vec![204], 1));
    stage.server.stop().await.unwrap();
    let (provider, _stage, said) = text_message(folder.path(), &[202], "t1", &gateway).await;
    assert_eq!((said, provider.all().len()), (vec![204], 0));
    assert!(gateway.wait_ends(2).await.iter().all(|end| end["status"] == "succeeded"));
}

#[tokio::test]
async fn what_cannot_be_reported_is_reported_later_also_after_a_new_start() {
    let (folder, gateway) = (folder(), Listener::start(&[503, 503, 200]).await);
    let stage = Stage::open(&[Execution], folder.path()).await;
    let work = event("t1", "programs", &gateway, &json!({"program": "2 * 3"}));
    assert_eq!(push(&stage, Execution, "t1", &work).await, 204);
    gateway.wait_ends(1).await;
    stage.server.stop().await.unwrap();
    let _stage = Stage::open(&[Execution], folder.path()).await;
    let ends = gateway.wait_ends(3).await;
    assert!(ends.iter().all(|end| end["result"]["value"] == 6.0), "{ends:?}");
}

/// A provider's status, and what becomes of the message with it: at most three attempts.
async fn text_message(folder: &Path, answers: &[u16], id: &str, gateway: &Listener) -> (Listener, Stage, Vec<u16>) {
    let provider = Listener::start(answers).await;
    let stage = Stage::with("http://127.0.0.1:1/", &[Sms], folder, |plan| {
        plan.workers.sms_url = Some(provider.url.clone());
        plan.workers.sms_token = Some("sms-token".to_owned());
        plan.workers.max_attempts = 3;
    })
    .await;
    let order = event(id, "texts", gateway, &json!({"to": "+491701234567", "text": "Hello"}));
    let mut said = Vec::new();
    // Until the gateway would stop.
    while said.last().is_none_or(|status| *status == 503) {
        said.push(push(&stage, Sms, id, &order).await);
    }
    (provider, stage, said)
}

#[tokio::test]
async fn what_fails_for_now_is_tried_again_with_the_same_key() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let (provider, _stage, said) = text_message(folder.path(), &[503, 429, 202], "t1", &gateway).await;
    assert_eq!(said, [503, 503, 204]);
    assert_eq!(gateway.wait_ends(1).await[0]["status"], "succeeded");
    for (headers, body) in provider.all() {
        assert_eq!(headers["idempotency-key"], "t1");
        assert_eq!(headers["authorization"], "Bearer sms-token");
        assert_eq!(body, json!({"to": "+491701234567", "text": "Hello", "reference": "t1"}));
    }
    assert_eq!(provider.all().len(), 3);
}

#[tokio::test]
async fn what_fails_for_ever_is_told_at_once() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let (provider, stage, said) = text_message(folder.path(), &[422], "t1", &gateway).await;
    assert_eq!((said, provider.all().len()), (vec![204], 1));
    let ends = gateway.wait_ends(1).await;
    assert_eq!(ends[0], json!({"status": "failed", "error": "the provider refused it with 422"}));
    for (id, data) in
        [("t2", json!({"to": "12", "text": "x"})), ("t3", json!({"to": "+491701234567"})), ("t4", json!(7))]
    {
        assert_eq!(push(&stage, Sms, id, &event(id, "texts", &gateway, &data)).await, 204);
    }
    assert!(gateway.wait_ends(4).await.iter().all(|end| end["status"] == "failed"));
    assert_eq!(provider.all().len(), 1);
}

#[tokio::test]
async fn what_was_given_up_is_a_dead_letter_and_tried_from_the_beginning_when_it_is_sent_again() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let (provider, stage, said) = text_message(folder.path(), &[500, 500, 500, 500, 201], "t1", &gateway).await;
    assert_eq!((said, provider.all().len()), (vec![503, 503, 410], 3));
    let ends = gateway.wait_ends(1).await;
    let error = "given up after 3 attempts: the provider answers 500";
    assert_eq!(ends[0], json!({"status": "failed", "error": error}));
    let order = event("t1", "texts", &gateway, &json!({"to": "+491701234567", "text": "Hello"}));
    assert_eq!(push(&stage, Sms, "t1", &order).await, 503);
    assert_eq!(push(&stage, Sms, "t1", &order).await, 204);
    assert_eq!(gateway.wait_ends(2).await[1]["status"], "succeeded");
}

#[tokio::test]
async fn what_is_no_event_is_a_dead_letter_at_once() {
    let folder = folder();
    let stage = Stage::open(&[Execution], folder.path()).await;
    for body in ["", "{", "{}", "[]", r#"{"specversion": "1.0", "id": "x"}"#] {
        assert_eq!(push(&stage, Execution, "x", body).await, 410, "{body}");
    }
}

#[tokio::test]
async fn without_a_mail_server_mails_are_files() {
    let (folder, gateway) = (folder(), Listener::start(&[200]).await);
    let stage = Stage::open(&[Email], folder.path()).await;
    let mail = json!({"to": "Ann <ann@example.com>", "subject": "Grüße\r\nBcc: eve@example.com", "text": "Hello"});
    assert_eq!(push(&stage, Email, "../t1", &event("../t1", "mails", &gateway, &mail)).await, 204);
    let end = gateway.wait_ends(1).await.remove(0);
    assert_eq!(end["status"], "succeeded", "{end}");
    let written = std::fs::read_to_string(folder.path().join("outbox").join("___t1.eml")).unwrap();
    assert!(written.contains("ann@example.com") && written.contains("Hello"), "{written}");
    assert!(!written.lines().any(|line| line.starts_with("Bcc")), "{written}");
}

#[tokio::test]
async fn only_workers_get_tokens_for_accounts() {
    let folder = folder();
    let stage = Stage::open(&[Name::Auth], folder.path()).await;
    let ask = || stage.post(Name::Auth, "/auth/password-reset/tokens").json(&json!({"email": "ada@example.com"}));
    refusal(ask(), 401).await;
    refusal(ask().bearer_auth("x".repeat(64)), 401).await;
    let token = std::fs::read_to_string(folder.path().join("worker-token")).unwrap();
    refusal(ask().bearer_auth(token.trim()), 404).await;
    let page = stage.get(Name::Auth, "/auth/password-reset").send().await.unwrap();
    assert!(page.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
}
