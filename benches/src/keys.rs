//! What a hundred thousand API keys cost: the CPU of a request with one of them, the gateway's memory, and how long a revoked one
//! still works.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use crate::compare::{Contender, Rounds, micros};
use crate::consumers::{Consumers, KEYS_EACH, application_name, prefix};
use crate::http;
use crate::load::{Load, Requests};
use crate::memory::mebibytes;
use crate::peer::Peer;
use crate::policy::key_line;
use crate::stack::{Stack, postgres_database};
use crate::statistics::Spread;

const PATH: &str = "/1k";
/// What a request among many keys may cost of one among ten, and what many keys may take.
const SLOWER: f64 = 1.3;
const MEBIBYTES: f64 = 150.0;
/// Milliseconds until a revoked key is refused, at the 99th percentile.
const REVOKED_SQLITE: f64 = 300.0;
const REVOKED_POSTGRES: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
pub struct Plan<'p> {
    pub rounds: Rounds,
    pub applications: usize,
    /// Keys that the measured requests carry in turn.
    pub used: usize,
    pub revocations: usize,
    pub postgres: Option<&'p str>,
}

/// Answers which promises were missed.
pub fn run(plan: &Plan<'_>, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let (few, many) = (Consumers::new(1)?, Consumers::new(plan.applications)?);
    let [few_stack, many_stack] = [start(&few, None, origin)?, start(&many, None, origin)?];
    let resident = |stack: &Stack| stack.gateway.resident_bytes().map(mebibytes);
    let more = |one: f64, other: f64| other - one;
    let loaded = more(resident(&few_stack)?, resident(&many_stack)?);
    let admin = mebibytes(many_stack.admin_resident_bytes()?);
    let contenders = [contender(&few, few_stack, plan.used)?, contender(&many, many_stack, plan.used)?];
    for (contender, consumers) in contenders.iter().zip([&few, &many]) {
        // Each key once, so that nothing that is measured is the first hash of one.
        let requests = &requests(consumers, contender.peer.address, usize::MAX);
        Load { target: contender.peer.address, requests, count: requests.len(), connections: 8 }.run()?;
    }
    let [few_peer, many_peer] = &contenders;
    let after = |peer: &Peer| peer.process().resident_bytes().map(mebibytes);
    let (known_few, known_many) = (after(&few_peer.peer)?, after(&many_peer.peer)?);
    let known = more(known_few, known_many);
    println!(
        "{} keys of {} applications, beside ten keys: {loaded:.1} MiB more when loaded, {known:.1} MiB more when all were used \
         ({known_few:.1} and {known_many:.1} MiB); admin API {admin:.1} MiB",
        many.keys.len(),
        plan.applications,
    );
    let ratio = plan.rounds.run("Requests with keys, 1 KiB", &contenders)?.last().copied().unwrap_or(f64::NAN);
    let mut missed = Vec::new();
    if ratio > SLOWER {
        missed.push(format!("many keys: {ratio:.3} of the CPU with ten, at most {SLOWER}"));
    }
    if loaded.max(known) > MEBIBYTES {
        missed.push(format!("many keys take {:.1} MiB, at most {MEBIBYTES}", loaded.max(known)));
    }
    let [_, many_peer] = contenders;
    drop(many_peer);
    missed.extend(revocations(plan, &many, origin)?);
    Ok(missed)
}

fn revocations(plan: &Plan<'_>, many: &Consumers, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let stack = start(many, None, origin)?;
    let mut p99 = vec![("SQLite", revoke(&stack, many, plan.revocations, "SQLite")?, REVOKED_SQLITE)];
    drop(stack);
    match plan.postgres {
        Some(cluster) => {
            let stack = start(many, Some(&postgres_database(cluster)?), origin)?;
            p99.push(("Postgres", revoke(&stack, many, plan.revocations, "Postgres")?, REVOKED_POSTGRES));
        }
        None => println!("Postgres: not measured, GATEHOUSE_TEST_POSTGRES is not set"),
    }
    let late = p99.into_iter().filter(|(_, served, limit)| served > limit);
    Ok(late
        .map(|(database, served, limit)| format!("{database}: revoked after {served:.1} ms, at most {limit}"))
        .collect())
}

fn start(consumers: &Consumers, url: Option<&str>, origin: SocketAddr) -> anyhow::Result<Stack> {
    Stack::start_filled(url, async |store| consumers.write(&*store, origin).await)
}

fn contender(consumers: &Consumers, stack: Stack, used: usize) -> anyhow::Result<Contender> {
    let anonymous = http::send(stack.traffic, "GET", PATH, None, "")?;
    if anonymous.status != 401 {
        bail!("the gateway answers {} to nobody", anonymous.status);
    }
    let requests = requests(consumers, stack.traffic, used);
    let label = format!("{}/{} keys", requests.len(), consumers.keys.len());
    Ok(Contender { peer: Peer::of_stack(label, stack), requests })
}

/// With the first `used` keys of the spread.
fn requests(consumers: &Consumers, target: SocketAddr, used: usize) -> Requests {
    let lines: Vec<String> = consumers.spread().take(used).map(key_line).collect();
    Requests::with_headers(target, PATH, lines.iter().map(String::as_str))
}

/// Revokes keys of different applications, each after a request that it let in. Answers the milliseconds from the answer to the
/// revocation to the first refusal, at the 99th percentile.
fn revoke(stack: &Stack, consumers: &Consumers, count: usize, database: &str) -> anyhow::Result<f64> {
    let (mut written, mut refused) = (Vec::new(), Vec::new());
    let step = (consumers.keys.len() / count.max(1)).max(1);
    for (at, key) in consumers.keys.iter().enumerate().step_by(step).take(count) {
        let line = key_line(key);
        let call = || http::send(stack.traffic, "GET", PATH, Some(&line), "").map(|answer| answer.status);
        let before = call()?;
        let path = format!("/access/applications/{}/keys/{}", application_name(at / KEYS_EACH), prefix(key)?);
        let start = Instant::now();
        stack.ask("DELETE", &path, &json!(null))?;
        let answered = Instant::now();
        written.push(micros(answered - start) / 1000.0);
        let mut status = before;
        while status == 200 {
            if answered.elapsed() > Duration::from_secs(10) {
                bail!("a revoked key still works after 10 s");
            }
            status = call()?;
        }
        if (before, status) != (200, 401) {
            bail!("a key was answered {before} before and {status} after its revocation");
        }
        refused.push(micros(answered.elapsed()) / 1000.0);
    }
    let (spread, writes) = (Spread::of(&refused), Spread::of(&written));
    refused.sort_by(f64::total_cmp);
    let worst = refused.last().copied().unwrap_or(f64::NAN);
    let p99 = refused.get(refused.len() * 99 / 100).copied().unwrap_or(worst);
    println!(
        "{database}, {} keys: a revocation is answered after {:.1} ms and holds {:.1} ms later ({:.1}–{:.1}, p99 {p99:.1}, worst \
         {worst:.1}) over {} revocations",
        consumers.keys.len(),
        writes.median,
        spread.median,
        spread.low,
        spread.high,
        refused.len(),
    );
    Ok(p99)
}
