//! `pyd-runtime` with protections that the tests can switch off (`weakness.rs`). No package contains it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(pyd_runtime::cli::main(std::env::args_os().collect()))
}
