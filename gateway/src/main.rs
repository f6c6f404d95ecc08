//! The data plane's program.

use std::process::ExitCode;

/// The system allocator trims and faults its heap again on every large answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    gateway::run(std::env::args_os())
}
