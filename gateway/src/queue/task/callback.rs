//! Tells whoever asked to be told when a task is over: a signed POST of the task to the URL that came with the request. The client
//! names the URL, so it must lead to a host that an operator has listed for its application, and to no private address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Application, Task, Timestamp};
use gateway_config::snapshot::{Code, Refusal, Snapshot};
use gateway_config::store::{DueCallback, Store, StoreError};
use gateway_config::webhook::WebhookSecret;
use reqwest::Url;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::endpoint::View;
use crate::identity::egress::{Egress, Post, Reach};
use crate::live::Current;
use crate::observe::metrics::QueueMetrics;
use crate::queue::webhook::{Pushed, delay, headers, later};

const LOOK: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A gateway that died calls no more: another one does after this time.
const LEASE: Duration = Duration::from_secs(30);
const AT_ONCE: u32 = 32;
/// With delays that double up to ten minutes: something like an hour and a half.
const MOST_ATTEMPTS: u32 = 16;
const LONGEST_URL: usize = 2048;

/// Whether this URL may be called at the end of a task of this application. Where its host leads is seen when it is called.
pub(crate) fn check_callback(url: &str, application: Option<&Application>) -> Result<(), Refusal> {
    let bad = |message: &str| Refusal { message: Some(message.into()), ..Refusal::new(Code::BadRequest) };
    let Some(application) = application else {
        return Err(bad("X-Callback-Url is for applications: this caller has none"));
    };
    let parsed = Url::parse(url).ok().filter(|_| url.len() <= LONGEST_URL);
    let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https"));
    let parsed = parsed.ok_or_else(|| bad("X-Callback-Url must be an http(s) URL of at most 2048 characters"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(bad("X-Callback-Url must hold no user and no password"));
    }
    let host = parsed.host_str().unwrap_or_default();
    if !application.callback_hosts.iter().any(|listed| is_listed(listed, host)) {
        return Err(bad("the host of X-Callback-Url is not among the application's callbackHosts"));
    }
    Ok(())
}

/// `*.example.com` lists what is below `example.com`, at any depth, and never an address.
fn is_listed(listed: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match listed.strip_prefix("*.") {
        Some(parent) => {
            let below = host.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.'));
            below.is_some_and(|rest| !rest.is_empty()) && host.parse::<IpAddr>().is_err()
        }
        None => listed == host,
    }
}

/// Calls back.
#[derive(Debug)]
pub(crate) struct Callbacks {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) current: Arc<Current>,
    pub(crate) master: MasterKey,
    pub(crate) metrics: QueueMetrics,
    /// Where clients may send us.
    pub(crate) reach: Reach,
    /// A task has ended here.
    pub(crate) ended: Arc<Notify>,
}

impl Callbacks {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ended.notified() => {}
                _ = ticks.tick() => {}
            }
            // One that is cut off is called again when its lease has run out.
            let Some(outcome) = stop.run_until_cancelled(self.call_all()).await else { return };
            if let Err(error) = outcome {
                tracing::debug!(%error, "callbacks wait: the database is away");
            }
        }
    }

    pub(super) async fn call_all(&self) -> Result<(), StoreError> {
        let Some(live) = self.current.get() else { return Ok(()) };
        if live.snapshot.applications().all(|application| application.source.callback_hosts.is_empty()) {
            return Ok(());
        }
        loop {
            let now = self.clock.now();
            let due = self.store.claim_callbacks(now, later(now, LEASE), AT_ONCE).await?;
            let ids: Vec<String> = due.iter().map(|due| due.id.clone()).collect();
            let tasks = self.store.tasks(&ids).await?;
            let calls = tasks.iter().filter_map(|task| {
                let due = due.iter().find(|due| due.id == task.id)?;
                Some(self.call_and_settle(&live.snapshot, task, due))
            });
            futures::future::try_join_all(calls).await?;
            if due.len() < AT_ONCE as usize {
                return Ok(());
            }
        }
    }

    async fn call_and_settle(&self, snapshot: &Snapshot, task: &Task, due: &DueCallback) -> Result<(), StoreError> {
        let again_at = self.call(snapshot, task, due.attempts).await;
        self.store.settle_callback(&task.id, again_at).await
    }

    /// When to call again; `None`: never.
    async fn call(&self, snapshot: &Snapshot, task: &Task, attempts: u32) -> Option<Timestamp> {
        let url = task.callback_url.as_deref()?;
        let owner = task.application_id?;
        let application = snapshot.applications().find(|application| application.source.id == owner);
        // The lists are as they are now, not as they were when the task was made.
        if check_callback(url, application.map(|application| &*application.source)).is_err() {
            self.metrics.called_back("not_allowed");
            return None;
        }
        let (now, body) = (self.clock.now(), View::of(task).json());
        let secret = WebhookSecret::of_application(&self.master, owner);
        let headers = headers(&secret, &task.id, now, "application/json", &body);
        let post = Post { url, headers, body, timeout: TIMEOUT, reach: self.reach };
        let error = match Pushed::of(self.egress.post(post).await) {
            Pushed::Taken => {
                self.metrics.called_back("delivered");
                return None;
            }
            Pushed::Failed { not_before, .. } if attempts < MOST_ATTEMPTS => {
                self.metrics.called_back("retry");
                return Some(later(self.clock.now(), delay(attempts, not_before, rand::random())));
            }
            Pushed::Failed { error, .. } | Pushed::Gone { error } => error,
        };
        self.metrics.called_back("failed");
        tracing::warn!(task = task.id, attempts, error, "gave up calling back for a task");
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(listed: &[&str], url: &str) -> Option<String> {
        let callback_hosts = listed.iter().map(|host| (*host).to_owned()).collect();
        let application = Application { callback_hosts, ..Application::default() };
        let checked = check_callback(url, Some(&application));
        checked.err().map(|refusal| refusal.message.unwrap_or_default().into())
    }

    #[test]
    fn only_hosts_that_an_operator_listed_are_called() {
        let listed = ["shop.example", "*.hooks.example"];
        for good in [
            "https://shop.example/done?x=1",
            "http://SHOP.example:8080/",
            "https://shop.example./",
            "https://a.hooks.example/",
            "https://a.b.hooks.example/",
        ] {
            assert_eq!(refusal(&listed, good), None, "{good}");
        }
        for bad in [
            "https://hooks.example/",
            "https://xhooks.example/",
            "https://a.shop.example/",
            "https://shop.example.evil.test/",
            "https://evil.test/?shop.example",
            "https://evil.test#shop.example",
            "https://shop.example@evil.test/",
            "https://u:p@shop.example/",
            "https://u@shop.example/",
            "ftp://shop.example/",
            "//shop.example/",
            "shop.example",
            "",
            "https://127.0.0.1/",
        ] {
            assert!(refusal(&listed, bad).is_some(), "{bad}");
        }
        assert!(refusal(&listed, &format!("https://shop.example/{}", "a".repeat(2048))).is_some());
        assert!(refusal(&[], "https://shop.example/").is_some());
        assert!(check_callback("https://shop.example/", None).is_err());
    }
}
