//! A gateway with queues, and a public route to each.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Plan;
use super::posts::Posts;
use crate::http;
use crate::process::Process;
use crate::stack::{Stack, Start};

/// A broker may still be starting.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(10);

/// The route of requests that the gateway answers by itself.
const ALONE: &str = "alone";

pub(super) struct Gatehouse {
    stack: Stack,
}

impl Gatehouse {
    /// With these queues by their names.
    pub(super) fn start(
        plan: &Plan,
        url: Option<&str>,
        variables: &[(&str, String)],
        queues: &[(&str, Value)],
    ) -> anyhow::Result<Self> {
        let stack = Stack::start_as(&Start { url, threads: plan.threads, variables }, async |_| Ok(()))?;
        for (name, queue) in queues {
            stack.put(&format!("/routing/queues/{name}"), queue)?;
            let route = json!({"path": format!("/{name}"), "target": {"queue": name}, "access": {"anyOf": ["public"]}});
            stack.put(&format!("/routing/routes/{name}?wait=5s"), &route)?;
        }
        let alone = json!({"path": format!("/{ALONE}"), "target": {"respond": {"statusCode": 202}}, "access": {"anyOf": ["public"]}});
        stack.put(&format!("/routing/routes/{ALONE}?wait=5s"), &alone)?;
        Ok(Self { stack })
    }

    pub(super) fn process(&self) -> &Process {
        &self.stack.gateway
    }

    pub(super) fn posts(&self, queue: &str, connections: usize, lasts: Duration) -> Posts {
        Posts::to(self.stack.traffic, &format!("/{queue}"), connections, lasts)
    }

    /// What HTTP costs before there is any message.
    pub(super) fn posts_alone(&self, connections: usize, lasts: Duration) -> Posts {
        Posts::alone(self.stack.traffic, &format!("/{ALONE}"), connections, lasts)
    }

    /// Until the queue takes a message; how long that was.
    pub(super) fn wait_accepted(posts: &Posts) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let status = posts.once()?;
            if status == 202 {
                return Ok(start.elapsed());
            }
            if start.elapsed() > PATIENCE {
                bail!("a message is answered {status} after {PATIENCE:?}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// A number among the gateway's metrics.
    pub(super) fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let answer = http::send(self.stack.ops, "GET", "/metrics", None, "")?;
        let mut lines = answer.body.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("there is no metric {name}"))?.trim().parse()?)
    }

    /// Until nothing waits on its disk; how long that was.
    pub(super) fn wait_replayed(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        while self.metric("gatehouse_spool_messages")? > 0.0 {
            if start.elapsed() > PATIENCE {
                bail!("the spool is not empty after {PATIENCE:?}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(start.elapsed())
    }
}
