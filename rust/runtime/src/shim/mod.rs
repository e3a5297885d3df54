//! The monitor of one container (`pyd-runtime shim`): owns its stdio, its log and its exit record, serves its
//! clients, and outlives whoever started it.
//!
//! In order of events: [`start`] opens everything and makes the container,
//! [`report`] tells the starter, [`monitor`] serves, [`finish`] records. One thread, one epoll, bounded buffers.

mod client;
pub(crate) mod clock;
mod config;
mod control;
mod exit;
mod finish;
mod frames;
mod jsonline;
mod logfile;
mod monitor;
mod ops;
mod poll;
mod queue;
mod report;
mod rundir;
mod start;
mod stdio;
mod streams;
mod tie;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use report::Report;

/// What the command line gives.
#[derive(Debug)]
pub struct Options {
    /// Directory of `config.json` and `shim.json`.
    pub bundle: PathBuf,
    /// Pipe for the one line that tells how the start went.
    pub report: Option<OwnedFd>,
    /// Connected AF_UNIX socket of a client that is attached from the first byte on.
    pub attach: Option<OwnedFd>,
}

/// Runs a container from its start to its exit record; `false` when it did not start.
///
/// The caller must have one thread and own nothing but the descriptors of `options`.
pub fn run(options: Options) -> bool {
    let report = Report::new(options.report);
    let (mut monitor, leftover) = match start::start(&options.bundle, options.attach) {
        Ok(started) => started,
        Err(error) => {
            report.failed(&error);
            return false;
        }
    };
    monitor.report(report);
    // Parsing the spec and making the container took memory that the waiting does not need.
    pyd_sys::heap::trim();
    let status = monitor.run();
    monitor.finish(status, leftover);
    true
}
