//! The memory of whole processes: with a large configuration, and over many reloads of it.

use std::net::SocketAddr;

use crate::reload::change;
use crate::stack::Stack;

const SIZE: (usize, usize) = (10_000, 1_000);

/// What that configuration may take.
const LARGE: f64 = 100.0;

/// What the second half of many reloads may add to the peak of the first: an allocator's pages settle, a leak does not.
const GROWN: f64 = 1.1;

/// How often memory is looked at.
const STATIONS: usize = 20;

/// Answers which promises were missed.
pub fn run(reloads: usize, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let empty = Stack::start(None, origin, 0, 0)?;
    let bare = empty.gateway.resident_bytes()?;
    drop(empty);
    let stack = Stack::start(None, origin, SIZE.0, SIZE.1)?;
    let loaded = mebibytes(stack.gateway.resident_bytes()?);
    println!(
        "resident: gateway {:.1} MiB without configuration, {:.1} MiB with {} routes and {} services; admin API {:.1} MiB",
        mebibytes(bare),
        loaded,
        SIZE.0,
        SIZE.1,
        mebibytes(stack.admin_resident_bytes()?),
    );
    let mut told = Vec::new();
    let pause = (reloads / STATIONS).max(1);
    for number in 0..reloads {
        // Waited for, or the gateway would take several changes in one reload.
        change(&stack, number, "?wait=5s")?;
        if (number + 1) % pause == 0 {
            let resident = mebibytes(stack.gateway.resident_bytes()?);
            let admin = mebibytes(stack.admin_resident_bytes()?);
            println!("after {:>6} reloads: gateway {resident:.1} MiB, admin API {admin:.1} MiB", number + 1);
            told.push(resident);
        }
    }
    let mut missed = Vec::new();
    if loaded > LARGE {
        missed.push(format!("a large configuration takes {loaded:.1} MiB, at most {LARGE}"));
    }
    let (first, second) = told.split_at(told.len() / 2);
    let peak = |half: &[f64]| half.iter().copied().fold(0.0, f64::max);
    if !first.is_empty() && peak(second) > peak(first) * GROWN {
        missed.push(format!("memory grew over {reloads} reloads, from {:.1} to {:.1} MiB", peak(first), peak(second)));
    }
    Ok(missed)
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
