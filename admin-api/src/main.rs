//! The program `admin-api`: see `admin_api::run`.

use std::process::ExitCode;

// As in the gateway: glibc's allocator keeps what large configurations touched.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, of which most threads touch a few hundred bytes: 28 MiB where 4 are needed.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    admin_api::run(std::env::args_os())
}
