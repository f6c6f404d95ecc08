//! How soon a change is served by every gateway of a fleet, and what requests feel of changes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use futures::future::try_join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::compare::micros;
use crate::fleet;
use crate::load::{Latencies, Requests, as_micros, read_answer};
use crate::pace::{Pace, Paced};
use crate::stack::Stack;

/// The configuration that is changed: fifty gateways hold it on one machine.
const SIZE: (usize, usize) = (1_000, 100);
/// How often each gateway is asked whether it serves a change: fifty that are asked without a pause have no time to.
const PAUSE: Duration = Duration::from_millis(5);
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
    let nodes: Vec<SocketAddr> =
        std::iter::once(stack.traffic).chain(others.iter().map(|(_, traffic)| *traffic)).collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut each, mut all) = (Vec::new(), Vec::new());
    for number in 0..plan.changes {
        let body = change(&stack, number)?;
        let answered = Instant::now();
        let served =
            runtime.block_on(try_join_all(nodes.iter().map(|node| until_served(*node, number, &body, answered))))?;
        all.push(served.iter().copied().max().context("there are no nodes")?);
        each.extend(served);
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

async fn until_served(node: SocketAddr, number: usize, body: &str, since: Instant) -> anyhow::Result<u32> {
    let mut stream = TcpStream::connect(node).await.context("could not connect")?;
    stream.set_nodelay(true)?;
    let request = format!("GET {} HTTP/1.1\r\nhost: {node}\r\n\r\n", fleet::path(number % SIZE.0));
    let mut buffer = Vec::new();
    loop {
        stream.write_all(request.as_bytes()).await.context("could not send")?;
        read_answer(&mut stream, &mut buffer).await?;
        if buffer.ends_with(body.as_bytes()) {
            return Ok(as_micros(since.elapsed()));
        }
        if since.elapsed() > PATIENCE {
            bail!("{node} does not serve change {number}");
        }
        tokio::time::sleep(PAUSE).await;
    }
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
