//! A worker behind an embedded queue that dies in the middle of its answer. How killed workers of other brokers fare is in `workers`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use e2e::{Backend, Received, Request, Stack, eventually_within};
use serde_json::{Value, json};

use super::super::{event, mail, mailing, task_of};
use super::DEADLINE;

/// How far it gets with its first answers.
const CUT_OFF: [&[u8]; 3] =
    [b"", b"HTTP/1.1 20", b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 9\r\n\r\nsom"];

#[derive(Default)]
struct Work {
    /// By id, how often it was pushed.
    pushed: Mutex<HashMap<String, usize>>,
    /// Whatever is done twice is in here twice.
    done: Mutex<Vec<String>>,
    answers: AtomicUsize,
}

impl Work {
    /// Does it once, and says so each time.
    async fn take(&self, event: &Value) {
        let id = event["id"].as_str().unwrap().to_owned();
        let is_new = {
            let mut pushed = self.pushed.lock().unwrap();
            let count = pushed.entry(id.clone()).or_default();
            *count += 1;
            *count == 1
        };
        if is_new {
            self.done.lock().unwrap().push(id);
        }
        let url = event["statusurl"].as_str().unwrap();
        let (address, path) = e2e::load::split_url(url);
        let token = format!("Bearer {}", event["tasktoken"].as_str().unwrap());
        let report = Request::post(&path, json!({"status": "succeeded"}).to_string()).header("Authorization", &token);
        report.send(address).await.unwrap().expect_status(200);
    }
}

#[tokio::test]
async fn what_a_dying_worker_had_done_is_done_once_and_its_task_succeeds() {
    let work = Arc::new(Work::default());
    let theirs = work.clone();
    let worker = Backend::raw(move |mut wire| {
        let work = theirs.clone();
        async move {
            while let Ok(Some(request)) = Received::read(&mut wire).await {
                work.take(&event(&request)).await;
                if let Some(part) = CUT_OFF.get(work.answers.fetch_add(1, Ordering::SeqCst)) {
                    let _ = wire.write(part).await;
                    return wire.reset();
                }
                let _ = wire.write(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        }
    });
    let stack = mailing(Stack::builder(), &worker, |mails| mails.set("concurrency", 1)).await;
    let mut accepted = Vec::new();
    for text in ["one", "two", "three"] {
        accepted.push(stack.gateway(0).send(&mail(text)).await.expect_status(202));
    }
    for accepted in &accepted {
        let url = accepted.json()["statusUrl"].as_str().unwrap().to_owned();
        let look = async || {
            let task = stack.gateway(0).get(&url).await.json();
            if task["status"] == "succeeded" { Ok(()) } else { Err(task.to_string()) }
        };
        eventually_within(DEADLINE, "the task's end", look).await;
    }
    let delivered = async || match stack.gateway(0).metric("gatehouse_queue_deliveries_total", &["\"delivered\""]).await
    {
        Some(3.0) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually_within(DEADLINE, "all to be delivered", delivered).await;
    let mut done = work.done.lock().unwrap().clone();
    let mut ids: Vec<String> = accepted.iter().map(task_of).collect();
    done.sort();
    ids.sort();
    assert_eq!(done, ids);
    assert_eq!(work.pushed.lock().unwrap().values().sum::<usize>(), 3 + CUT_OFF.len());
}
