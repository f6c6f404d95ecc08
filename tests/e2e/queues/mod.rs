//! Requests for later: from the 202 to the worker, and what the client hears of it.

mod channel;
mod documented;
mod embedded;
mod faults;
mod operators;
mod publish;
mod tasks;
mod workers;

use std::time::Duration;

use e2e::stack::StackBuilder;
use e2e::{Answer, Backend, Entity, Received, Request, Stack, application, eventually_within, queue, route};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_mins(1);

/// The embedded queue `mails` behind `POST /mails`, open to all, and behind `POST /closed`, for the application `shop`.
async fn mailing(builder: StackBuilder, worker: &Backend, mails: impl FnOnce(Entity) -> Entity) -> Stack {
    let stack = builder.start().await;
    stack
        .put(&[
            mails(queue("mails").deliver_to(format!("{}/work", worker.url()))),
            route("mails").pattern("/mails").to_queue("mails").public(),
            route("closed").pattern("/closed").to_queue("mails"),
            shop(),
            application("depot").allowed(&["mails"]).endpoint("/closed", &["POST"]),
        ])
        .await;
    stack
}

fn shop() -> Entity {
    application("shop").allowed(&["mails"]).endpoint("/closed", &["POST"])
}

fn mail(text: &str) -> Request {
    Request::post("/mails", format!("{{\"text\": \"{text}\"}}")).header("Content-Type", "application/json")
}

fn task_of(accepted: &Answer) -> String {
    assert_eq!(accepted.status, 202, "{accepted}");
    accepted.json()["taskId"].as_str().unwrap().to_owned()
}

/// What a worker got: the event, whose id is its header's, too.
fn event(received: &Received) -> Value {
    let event: Value = serde_json::from_slice(&received.body).unwrap();
    assert_eq!(received.header("webhook-id"), event["id"].as_str());
    event
}

/// The ids of all messages that the worker got, in the order in which they came.
fn ids(worker: &Backend) -> Vec<String> {
    worker.requests().iter().map(|received| event(received)["id"].as_str().unwrap().to_owned()).collect()
}

async fn received(worker: &Backend, count: u64) {
    let probe = async || match worker.count() {
        seen if seen >= count => Ok(()),
        seen => Err(format!("{seen} of {count}")),
    };
    eventually_within(DEADLINE, "the messages at the worker", probe).await;
}
