//! How long a change of one route takes from the answer to its write until a request is served by it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use crate::compare::micros;
use crate::stack::Stack;
use crate::statistics::Spread;
use crate::{fleet, http};

/// The routes of the configuration that is changed, and its services.
const SIZE: (usize, usize) = (10_000, 1_000);

/// Answers the milliseconds at the 99th percentile.
pub fn run(database: &str, url: Option<&str>, changes: usize, origin: SocketAddr) -> anyhow::Result<f64> {
    let stack = Stack::start(url, origin, SIZE.0, SIZE.1)?;
    let (mut served, mut written) = (Vec::new(), Vec::new());
    for number in 0..changes {
        let start = Instant::now();
        let at = change(&stack, number, "")?;
        let answered = Instant::now();
        written.push(micros(answered - start) / 1000.0);
        until_served(&stack, at, number, answered)?;
        served.push(micros(answered.elapsed()) / 1000.0);
    }
    let (spread, writes) = (Spread::of(&served), Spread::of(&written));
    served.sort_by(f64::total_cmp);
    let worst = served.last().copied().unwrap_or(f64::NAN);
    let p99 = served.get(served.len() * 99 / 100).copied().unwrap_or(worst);
    println!(
        "{database}, {} routes: a write is answered after {:.1} ms and served {:.1} ms later ({:.1}–{:.1}, p99 {p99:.1}, worst \
         {worst:.1}) over {changes} changes",
        SIZE.0, writes.median, spread.median, spread.low, spread.high
    );
    Ok(p99)
}

/// Lets a route answer `number` by itself, `query` behind the path of the write. Answers which route.
pub fn change(stack: &Stack, number: usize, query: &str) -> anyhow::Result<usize> {
    let at = number * 7919 % SIZE.0;
    let mut route = fleet::route(at, SIZE.1);
    route["target"] = json!({"respond": {"body": format!("change {number}")}});
    stack.put(&format!("/routing/routes/{}{query}", fleet::route_name(at)), &route)?;
    Ok(at)
}

fn until_served(stack: &Stack, at: usize, number: usize, since: Instant) -> anyhow::Result<()> {
    let expected = format!("change {number}");
    while http::send(stack.traffic, "GET", &fleet::path(at), None, "")?.body != expected {
        if since.elapsed() > Duration::from_secs(10) {
            bail!("change {number} is not served after 10 s");
        }
    }
    Ok(())
}
