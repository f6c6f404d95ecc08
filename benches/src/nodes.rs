//! How soon a change is served by every gateway of a fleet, and what requests feel of changes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use serde_json::json;

use crate::compare::micros;
use crate::load::{Latencies, Requests};
use crate::pace::{Pace, Paced};
use crate::stack::Stack;
use crate::{fleet, http};

/// The configuration that is changed: fifty gateways hold it on one machine.
const SIZE: (usize, usize) = (1_000, 100);
/// Before a gateway is asked once more whether it serves a change.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds until a change is served by all, at the 99th percentile.
const SERVED_POSTGRES: f64 = 100.0;
const SERVED_SQLITE: f64 = 300.0;
/// The p99 of requests while the configuration changes, beside the same without changes.
const SLOWER: f64 = 2.0;

#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Plan {
    #[arg(long, default_value_t = 50)]
    pub nodes: usize,
    #[arg(long, default_value_t = 100)]
    pub changes: usize,
}

/// Answers which promises were missed.
pub fn run(plan: &Plan, database: &str, url: Option<&str>, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let stack = Stack::start(url, origin, SIZE.0, SIZE.1)?;
    let others: Vec<_> = (1..plan.nodes).map(|number| stack.another_gateway(number)).collect::<anyhow::Result<_>>()?;
    let others = others.iter().map(|other| (other.traffic, other.ops));
    let nodes: Vec<_> = std::iter::once((stack.traffic, stack.ops)).chain(others).collect();
    let (mut each, mut all) = (Vec::new(), Vec::new());
    for number in 0..plan.changes {
        let body = change(&stack, number)?;
        let answered = SystemClock.now();
        let mut last = 0;
        for (traffic, ops) in &nodes {
            let path = fleet::path(number % SIZE.0);
            until_served(*traffic, &path, &body)?;
            let micros = since(*ops)?.micros().saturating_sub(answered.micros()).max(0);
            let micros = u32::try_from(micros).unwrap_or(u32::MAX);
            last = micros.max(last);
            each.push(micros);
        }
        all.push(last);
    }
    let (each, all) = (Latencies::of(each), Latencies::of(all));
    let millis = |latencies: &Latencies, percent| micros(latencies.percentile(percent)) / 1000.0;
    println!(
        "{database}, {} nodes, {} changes: a node serves a change {:.1} ms after the write's answer (p99 {:.1}), the last one {:.1} (p99 {:.1})",
        nodes.len(),
        plan.changes,
        millis(&each, 50),
        millis(&each, 99),
        millis(&all, 50),
        millis(&all, 99),
    );
    let (p99, limit) = (millis(&each, 99), if url.is_some() { SERVED_POSTGRES } else { SERVED_SQLITE });
    let missed = format!("{database}: a change is served after {p99:.1} ms by {} nodes, at most {limit}", nodes.len());
    Ok(if p99 > limit { vec![missed] } else { Vec::new() })
}

/// Lets a route answer by itself; what it answers from then on.
fn change(stack: &Stack, number: usize) -> anyhow::Result<String> {
    let at = number % SIZE.0;
    let body = format!("change {number}");
    let mut route = fleet::route(at, SIZE.1);
    route["target"] = json!({"respond": {"body": body}});
    stack.put(&format!("/routing/routes/{}", fleet::route_name(at)), &route)?;
    Ok(body)
}

fn until_served(node: SocketAddr, path: &str, body: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    while http::send(node, "GET", path, None, "")?.body != body {
        if began.elapsed() > PATIENCE {
            bail!("{node} does not serve \"{body}\"");
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// When a node took over what it serves. By its own word, on this machine's clock: fifty gateways that are asked all the time whether they
/// serve a change have no time to.
fn since(ops: SocketAddr) -> anyhow::Result<Timestamp> {
    let status = http::send(ops, "GET", "/status", None, "")?.json()?;
    Ok(serde_json::from_value(status["since"].clone())?)
}

#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Calm {
    /// Without changes, and again with them
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    #[arg(long, default_value_t = 2000)]
    pub per_second: u32,
    #[arg(long, default_value_t = 20)]
    pub changes_per_second: u32,
}

/// What requests on kept connections feel of changes. Answers which promises were missed.
pub fn calm(plan: &Calm, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let stack = Stack::start(None, origin, SIZE.0, SIZE.1)?;
    stack.serve_everything_from(origin)?;
    let pace = Pace {
        target: stack.traffic,
        per_second: plan.per_second,
        lasts: Duration::from_secs(plan.seconds),
        connections: 16,
        sources: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
    };
    let requests = Requests::to_paths(stack.traffic, ["/1k"]);
    let quiet = pace.run(&requests)?;
    let is_over = AtomicBool::new(false);
    let (busy, changes) = std::thread::scope(|scope| {
        let changing = scope.spawn(|| keep_changing(&stack, plan.changes_per_second, &is_over));
        let busy = pace.run(&requests);
        is_over.store(true, Ordering::Relaxed);
        let changes = changing.join().map_err(|_| anyhow!("whoever changes panicked"))?;
        anyhow::Ok((busy?, changes?))
    })?;
    let millis = |paced: &Paced, percent| micros(paced.latencies.percentile(percent)) / 1000.0;
    for (what, paced) in [("without changes", &quiet), ("with changes", &busy)] {
        println!(
            "{what}: {:?}, {} broken; p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms",
            paced.statuses,
            paced.broken,
            millis(paced, 50),
            millis(paced, 90),
            millis(paced, 99)
        );
    }
    let slower = millis(&busy, 99) / millis(&quiet, 99);
    println!("{changes} changes: a p99 of {slower:.2} of that without");
    let mut missed = Vec::new();
    if slower > SLOWER {
        missed.push(format!("requests during changes: a p99 of {slower:.2} of that without, at most {SLOWER}"));
    }
    let failed = busy.latencies.count() - busy.answered(200) + busy.broken;
    if failed > 0 {
        missed.push(format!("{failed} requests failed during changes"));
    }
    Ok(missed)
}

fn keep_changing(stack: &Stack, per_second: u32, is_over: &AtomicBool) -> anyhow::Result<usize> {
    let (began, mut made) = (Instant::now(), 0u32);
    while !is_over.load(Ordering::Relaxed) {
        change(stack, usize::try_from(made)?)?;
        made += 1;
        let due = Duration::from_secs(made.into()) / per_second.max(1);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    Ok(usize::try_from(made)?)
}
