//! The program `admin-api`: see `admin_api::run`.

use std::process::ExitCode;

// As in the gateway: glibc's allocator keeps what large configurations touched.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    admin_api::run(std::env::args_os())
}
