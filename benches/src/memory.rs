//! The memory of whole processes: with a large configuration, and over many reloads of it.

use std::net::SocketAddr;

use crate::reload::change;
use crate::stack::Stack;

const SIZE: (usize, usize) = (10_000, 1_000);

pub fn run(reloads: usize, origin: SocketAddr) -> anyhow::Result<()> {
    let empty = Stack::start(None, origin, 0, 0)?;
    let bare = empty.gateway.resident_bytes()?;
    drop(empty);
    let stack = Stack::start(None, origin, SIZE.0, SIZE.1)?;
    println!(
        "resident: gateway {:.1} MiB without configuration, {:.1} MiB with {} routes and {} services; admin API {:.1} MiB",
        mebibytes(bare),
        mebibytes(stack.gateway.resident_bytes()?),
        SIZE.0,
        SIZE.1,
        mebibytes(stack.admin_resident_bytes()?),
    );
    for number in 0..reloads {
        change(&stack, number)?;
        let told = (reloads / 10).max(1);
        if (number + 1) % told == 0 {
            println!(
                "after {:>6} reloads: gateway {:.1} MiB, admin API {:.1} MiB",
                number + 1,
                mebibytes(stack.gateway.resident_bytes()?),
                mebibytes(stack.admin_resident_bytes()?)
            );
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
