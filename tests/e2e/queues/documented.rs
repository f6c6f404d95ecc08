//! The workers that docs/queues.md shows do what it says.

use std::net::SocketAddr;
use std::process::Command;

use e2e::{Backend, Process, Reply, Request, Stack, eventually_within, queue, route};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::master_key::MasterKey;
use gateway_config::model::Id;
use gateway_config::webhook::{WebhookSecret, seconds};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DEADLINE, received};

const DOCUMENT: &str = include_str!("../../../docs/queues.md");

/// The only program of the document in this language.
fn program(language: &str) -> &'static str {
    let fence = format!("\n```{language}\n");
    let mut blocks = DOCUMENT.split(fence.as_str()).skip(1);
    let block = blocks.next().unwrap_or_else(|| panic!("no {language}"));
    assert!(blocks.next().is_none(), "one program in {language}");
    block.split("\n```").next().unwrap()
}

struct Documented {
    address: SocketAddr,
    secret: WebhookSecret,
    stack: Stack,
    _process: Process,
    _folder: TempDir,
}

impl Documented {
    async fn start(interpreter: &str, language: &str, file: &str) -> Self {
        let address: SocketAddr = format!("127.0.0.1:{}", e2e::postgres::free_port()).parse().unwrap();
        let stack = Stack::start().await;
        stack
            .put(&[
                queue("texts").deliver_to(format!("http://{address}/texts")),
                route("texts").pattern("/texts").to_queue("texts").public(),
            ])
            .await;
        let queue = stack.admin().get("/admin/routing/queues/texts").await.json();
        let master = MasterKey::of(e2e::stack::MASTER_KEY).unwrap();
        let secret = WebhookSecret::of_queue(&master, Id::new(queue["id"].as_str().unwrap().parse().unwrap()));

        let folder = TempDir::with_prefix("gatehouse-documented-").unwrap();
        std::fs::write(folder.path().join(file), program(language)).unwrap();
        let mut command = Command::new(interpreter);
        command.arg(file).current_dir(folder.path());
        command.env("WEBHOOK_SECRET", secret.text()).env("PORT", address.port().to_string());
        let process = Process::start(language, command);
        eventually_within(DEADLINE, "the worker to listen", async || tokio::net::TcpStream::connect(address).await)
            .await;
        Self { address, secret, stack, _process: process, _folder: folder }
    }

    /// As the gateway pushes it; the status of the answer.
    async fn push(&self, id: &str, event: &Value, body: &str) -> u16 {
        let at = SystemClock.now();
        let signature = self.secret.sign(id, at, event.to_string().as_bytes());
        let request = Request::post("/texts", body.to_owned())
            .header("webhook-id", id)
            .header("webhook-timestamp", &seconds(at).to_string())
            .header("webhook-signature", &signature);
        request.send(self.address).await.unwrap().status
    }
}

async fn a_documented_worker_does_what_is_said(interpreter: &str, language: &str, file: &str) {
    let worker = Documented::start(interpreter, language, file).await;
    let request = Request::post("/texts", r#"{"text": "Hello"}"#).header("Content-Type", "application/json");
    let accepted = worker.stack.gateway(0).send(&request).await.expect_status(202).json();
    let look = async || {
        let task = worker.stack.gateway(0).get(accepted["statusUrl"].as_str().unwrap()).await.json();
        if task["status"] == "succeeded" { Ok(task) } else { Err(task.to_string()) }
    };
    let task = eventually_within(DEADLINE, "the task's end", look).await;
    assert_eq!(task["result"], json!({"length": 5}));

    let gateway = Backend::http().otherwise(|_| Reply::status(409)).start();
    let event = json!({"id": "t1", "statusurl": gateway.url(), "tasktoken": "token", "data": {"text": "four"}});
    let body = event.to_string();
    assert_eq!(worker.push("t1", &event, &body).await, 204);
    // The same id says the same, whatever it is about.
    let again = json!({"id": "t1", "statusurl": gateway.url(), "tasktoken": "token", "data": {"text": "seventy"}});
    assert_eq!(worker.push("t1", &again, &again.to_string()).await, 204);
    received(&gateway, 2).await;
    for report in gateway.requests() {
        assert_eq!(report.header("authorization"), Some("Bearer token"));
        assert_eq!(serde_json::from_slice::<Value>(&report.body).unwrap()["result"]["length"], 4);
    }
    let forged = body.replace("four", "five");
    assert_eq!(worker.push("t1", &event, &forged).await, 401);
    let bare = Request::post("/texts", body).send(worker.address).await.unwrap();
    assert_eq!(bare.status, 401);
    assert_eq!(gateway.count(), 2);
}

#[tokio::test]
async fn the_worker_in_python_does_what_is_said() {
    a_documented_worker_does_what_is_said("python3", "python", "worker.py").await;
}

#[tokio::test]
async fn the_worker_for_node_does_what_is_said() {
    a_documented_worker_does_what_is_said("node", "js", "worker.mjs").await;
}

#[test]
fn the_worker_in_rust_is_the_example_that_is_built() {
    let example = include_str!("../../../backends/examples/rabbitmq_worker.rs");
    assert_eq!(program("rust").trim_end(), example.trim_end());
    for (language, most) in [("python", 20), ("js", 20), ("rust", 26)] {
        assert!(program(language).lines().count() <= most, "{language} is short");
    }
}
