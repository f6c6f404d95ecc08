//! The program `backends`: see `backends::run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    backends::run(std::env::args_os())
}
