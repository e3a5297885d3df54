//! `pyd-runtime`: an OCI runtime, and the monitor of one container (`shim`).
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(pyd_runtime::cli::main(std::env::args_os().collect()))
}
