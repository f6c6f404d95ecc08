//! The data plane's program.

use std::process::ExitCode;

/// The system allocator trims and faults its heap again on every large answer.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, of which most threads touch a few hundred bytes: 28 MiB where 4 are needed.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    gateway::run(std::env::args_os())
}
