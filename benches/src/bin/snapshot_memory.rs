//! The memory of a compiled snapshot alone, as the gateway's allocator sees it.

use benches::fleet;
use benches::memory::mebibytes;
use benches::process::resident_bytes;
use gateway_config::snapshot::compile;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let (routes, services) = (10_000, 1_000);
    let before = resident_bytes("self")?;
    let configuration = fleet::configuration(routes, services, "http://127.0.0.1:1")?;
    let read = resident_bytes("self")?;
    let snapshot = match compile(&configuration, 1) {
        Ok(snapshot) => snapshot,
        Err(problems) => anyhow::bail!("{problems:?}"),
    };
    // What the snapshot keeps of the configuration (each entity as it was written) it shares with it.
    drop(configuration);
    let compiled = resident_bytes("self")?;
    println!(
        "{} routes and {services} services: {:.1} MiB read, {:.1} MiB with the snapshot compiled from it",
        snapshot.routes().count(),
        mebibytes(read.saturating_sub(before)),
        mebibytes(compiled.saturating_sub(before)),
    );
    Ok(())
}
