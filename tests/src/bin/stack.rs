//! The product's processes in one binary, so that a test starts exactly what it was built with: `stack gateway …`,
//! `stack admin-api …` and `stack backends …` call the same `run` functions as the shipped binaries.

use std::ffi::OsString;
use std::process::ExitCode;

// As in the shipped binaries, so that what tests measure of memory is what operators get.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|part| part.to_str()) {
        Some("gateway") => gateway::run(arguments),
        Some("admin-api") => admin_api::run(arguments),
        Some("backends") => backends::run(arguments),
        _ => {
            eprintln!("usage: stack gateway|admin-api|backends …");
            ExitCode::from(2)
        }
    }
}
