//! A flood of wrong API keys beside good traffic: what the good requests feel of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::compare::micros;
use crate::consumers::Forger;
use crate::load::Requests;
use crate::memory::mebibytes;
use crate::pace::{Pace, Paced};
use crate::policy::{configure, key_line, make_keys};
use crate::stack::Stack;
use crate::{http, load};

const PATH: &str = "/1k";
const NOWHERE: &str = "/nowhere";
const GOOD_KEYS: usize = 8;
/// Shown for the first time: one a second, in the quiet and in the flood.
const NEW_KEYS: usize = 10;
const GOOD_CONNECTIONS: usize = 16;
/// More than may wait for a hash, or the flood would ebb while its connections wait.
const WRONG_CONNECTIONS: usize = 640;
/// The flood comes first: that its connections open all at once is another thing than what it asks.
const AHEAD: Duration = Duration::from_secs(1);
const GARBAGE_BYTES: usize = 8 << 10;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The p99 of good requests beside the same without the flood, the memory that it takes, and how long a good key may take that was
/// never seen before.
const SLOWER: f64 = 1.5;
const MEBIBYTES: f64 = 100.0;
const NEW_KEY_MILLIS: f64 = 500.0;

#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Plan {
    /// Without the flood, and again with it
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
    #[arg(long, default_value_t = 1000)]
    pub good_per_second: u32,
    #[arg(long, default_value_t = 2000)]
    pub wrong_per_second: u32,
    /// From how many addresses the wrong keys come; the first is that of the good clients
    #[arg(long, default_value_t = 8)]
    pub addresses: u8,
    /// Not from the address of the good clients
    #[arg(long)]
    pub apart: bool,
    /// Wrong keys with good checksums, which only a stolen master key makes: each costs a hash
    #[arg(long)]
    pub stolen: bool,
    /// Requests to where nothing is served instead of wrong keys: what as many refusals do that look at no key
    #[arg(long)]
    pub nowhere: bool,
}

/// What was felt in the quiet, or in the flood.
#[derive(Debug)]
struct Felt {
    good: Paced,
    new_key_millis: Vec<f64>,
    peak_mebibytes: f64,
    wrong: Option<Paced>,
}

/// Answers which promises were missed.
pub fn run(plan: &Plan, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let stack = Stack::start(None, origin, 0, 0)?;
    configure(&stack, origin)?;
    let keys = make_keys(&stack, GOOD_KEYS + 2 * NEW_KEYS)?;
    let (good, new) = keys.split_at(GOOD_KEYS);
    let lines: Vec<String> = good.iter().map(|key| key_line(key)).collect();
    let requests = || Requests::with_headers(stack.traffic, PATH, lines.iter().map(String::as_str));
    // The good keys are known before anything counts.
    load::Load { target: stack.traffic, requests: &requests(), count: 1000, connections: 4 }.run()?;
    let before = mebibytes(stack.gateway.resident_bytes()?);
    let (quiet_keys, flood_keys) = new.split_at(NEW_KEYS);
    let quiet = phase(plan, &stack, &requests(), quiet_keys, None)?;
    let wrong = wrong_requests(plan, stack.traffic, good)?;
    let flood = phase(plan, &stack, &requests(), flood_keys, Some(&wrong))?;
    print("quiet", &quiet);
    print("flood", &flood);
    let millis = |felt: &Felt, percent| micros(felt.good.latencies.percentile(percent)) / 1000.0;
    let slower = millis(&flood, 99) / millis(&quiet, 99);
    let more = flood.peak_mebibytes - before;
    let slowest = flood.new_key_millis.iter().copied().fold(0.0, f64::max);
    println!("p99 of good requests: {slower:.2} of the quiet; memory: {more:.1} MiB more than {before:.1}");
    let failed = [&quiet, &flood].map(|felt| {
        let Paced { latencies, broken, unsent, .. } = &felt.good;
        latencies.count() - felt.good.answered(200) + broken + usize::try_from(*unsent).unwrap_or(usize::MAX)
    });
    let mut missed = Vec::new();
    if slower > SLOWER {
        missed.push(format!("good requests: a p99 of {slower:.2} of the quiet, at most {SLOWER}"));
    }
    if failed != [0, 0] {
        missed.push(format!("{} good requests failed in the quiet and {} in the flood", failed[0], failed[1]));
    }
    if more > MEBIBYTES {
        missed.push(format!("the flood takes {more:.1} MiB, at most {MEBIBYTES}"));
    }
    if slowest > NEW_KEY_MILLIS {
        missed.push(format!("a new good key takes {slowest:.0} ms in the flood, at most {NEW_KEY_MILLIS}"));
    }
    Ok(missed)
}

/// Good traffic, and a new key now and then; with `wrong` the flood too.
fn phase(
    plan: &Plan,
    stack: &Stack,
    good: &Requests,
    new_keys: &[String],
    wrong: Option<&Requests>,
) -> anyhow::Result<Felt> {
    let lasts = Duration::from_secs(plan.seconds);
    let pace =
        |per_second, connections, sources| Pace { target: stack.traffic, per_second, lasts, connections, sources };
    let usual = pace(plan.good_per_second, GOOD_CONNECTIONS, vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let first = 1 + u8::from(plan.apart);
    let sources = (first..=first.saturating_add(plan.addresses.saturating_sub(1)))
        .map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
        .collect();
    let flood = Pace { lasts: lasts + AHEAD, ..pace(plan.wrong_per_second, WRONG_CONNECTIONS, sources) };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch_memory(stack, &is_over));
        let wrong = wrong.map(|wrong| scope.spawn(move || flood.run(wrong)));
        std::thread::sleep(AHEAD);
        let asking = scope.spawn(|| ask_with_new_keys(stack, new_keys, lasts));
        let good = scope.spawn(move || usual.run(good)).join();
        is_over.store(true, Ordering::Relaxed);
        let ended = |what: &'static str| move |_| anyhow!("{what} panicked");
        let peak_mebibytes = watching.join().map_err(ended("the watch"))??;
        let wrong = wrong.map(|wrong| wrong.join().map_err(ended("the flood"))).transpose()?.transpose()?;
        let new_key_millis = asking.join().map_err(ended("the new keys"))??;
        Ok(Felt { good: good.map_err(ended("the load"))??, new_key_millis, peak_mebibytes, wrong })
    })
}

fn watch_memory(stack: &Stack, is_over: &AtomicBool) -> anyhow::Result<f64> {
    let mut peak: f64 = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        peak = peak.max(mebibytes(stack.gateway.resident_bytes()?));
        std::thread::sleep(LOOK);
    }
    Ok(peak)
}

/// From the address of the good clients, which may be one that wrong keys come from.
fn ask_with_new_keys(stack: &Stack, keys: &[String], lasts: Duration) -> anyhow::Result<Vec<f64>> {
    let pause = lasts / u32::try_from(keys.len() + 1).context("too many keys")?;
    let mut millis = Vec::new();
    for key in keys {
        std::thread::sleep(pause);
        let start = Instant::now();
        let answer = http::send(stack.traffic, "GET", PATH, Some(&key_line(key)), "");
        let took = micros(start.elapsed()) / 1000.0;
        let is_good = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        if !is_good {
            let told = answer.map(|answer| answer.status);
            println!("a good key that was not seen before was answered {told:?} after {took:.0} ms");
        }
        millis.push(if is_good { took } else { f64::INFINITY });
    }
    Ok(millis)
}

/// Nearly all different, for the gateway remembers what was wrong: keys of nobody, good prefixes with other secrets, and garbage.
fn wrong_requests(plan: &Plan, target: SocketAddr, good: &[String]) -> anyhow::Result<Requests> {
    let count = usize::try_from(u64::from(plan.wrong_per_second) * plan.seconds)?;
    if plan.nowhere {
        return Ok(Requests::with_headers(target, NOWHERE, std::iter::repeat_n("X-Nothing: 1", count)));
    }
    let forger = Forger::new()?;
    let made = |key: String| if plan.stolen { key } else { mistyped(key) };
    let mut lines = Vec::with_capacity(count);
    for (number, key) in good.iter().cycle().take(count).enumerate() {
        lines.push(match number % 3 {
            0 => key_line(&made(forger.unknown())),
            1 => key_line(&made(forger.wrong_secret(key)?)),
            _ => key_line(&format!("{number:x<GARBAGE_BYTES$}")),
        });
    }
    Ok(Requests::with_headers(target, PATH, lines.iter().map(String::as_str)))
}

/// Its last character is another, as of whoever guesses.
fn mistyped(mut key: String) -> String {
    let last = key.pop();
    key.push(if last == Some('a') { 'b' } else { 'a' });
    key
}

fn print(what: &str, felt: &Felt) {
    let Felt { good, new_key_millis, peak_mebibytes, wrong } = felt;
    let millis = |percent| micros(good.latencies.percentile(percent)) / 1000.0;
    println!(
        "{what}: good requests {:?}, {} broken; p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms; new keys after {new_key_millis:.0?} ms; peak \
         {peak_mebibytes:.1} MiB",
        good.statuses,
        good.broken,
        millis(50),
        millis(90),
        millis(99),
    );
    if let Some(wrong) = wrong {
        println!("{what}: wrong requests {:?}, {} unanswered, {} not sent", wrong.statuses, wrong.broken, wrong.unsent);
    }
}
