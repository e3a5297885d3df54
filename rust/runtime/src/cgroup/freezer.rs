//! Stopping and resuming every process of a container at once.
//!
//! v2's freezer is preferred where both exist: a frozen process can be killed there, while on v1 not even SIGKILL acts
//! before the thaw.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::uio::pread;

use super::directory::Dir;
use super::place::Places;
use crate::error::{Error, Result};

/// A process in an uninterruptible wait (a dead NFS server) cannot be frozen.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn freeze(places: &Places) -> Result<()> {
    if let Some(dir) = places.v2.as_ref().map(|group| &group.dir) {
        match dir.write("cgroup.freeze", "1") {
            Ok(()) => return wait_v2(dir),
            // Before Linux 5.2.
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(dir.refused("cgroup.freeze", "1", errno)),
        }
    }
    match places.v1("freezer") {
        Some(dir) => freeze_v1(dir),
        None => Err(
            Error::new("cgroup", "cannot pause: there is no freezer here").hint(
                "pausing needs cgroup v2, or the freezer hierarchy of v1, writable for this user",
            ),
        ),
    }
}

/// Thaws both freezers, whichever was used.
pub(crate) fn thaw(places: &Places) -> Result<()> {
    if let Some(dir) = places.v2.as_ref().map(|group| &group.dir) {
        match dir.write("cgroup.freeze", "0") {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(dir.refused("cgroup.freeze", "0", errno)),
        }
    }
    if let Some(dir) = places.v1("freezer") {
        match dir.write("freezer.state", "THAWED") {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(dir.refused("freezer.state", "THAWED", errno)),
        }
    }
    Ok(())
}

/// Whether someone has asked for the group to be frozen (it may not be quite there yet).
pub(crate) fn is_frozen(places: &Places) -> bool {
    let v2 = places
        .v2
        .as_ref()
        .and_then(|group| group.dir.read("cgroup.freeze").ok())
        .is_some_and(|state| state.trim() == "1");
    v2 || frozen_on_v1(places)
}

pub(crate) fn frozen_on_v1(places: &Places) -> bool {
    places
        .v1("freezer")
        .and_then(|dir| dir.read("freezer.state").ok())
        .is_some_and(|state| state.trim() != "THAWED")
}

fn wait_v2(dir: &Dir) -> Result<()> {
    let failed = |errno| {
        Error::at(
            "cgroup",
            "read",
            format!("{}/cgroup.events", dir.label),
            errno,
        )
    };
    let events = openat(
        dir.fd(),
        "cgroup.events",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let mut text = [0; 256];
        let size = pread(&events, &mut text, 0).map_err(failed)?;
        if text[..size]
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"frozen 1")
        {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = dir.write("cgroup.freeze", "0");
            return Err(timed_out(dir));
        }
        // The kernel wakes POLLPRI when the file's content changes.
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
}

fn freeze_v1(dir: &Dir) -> Result<()> {
    const FILE: &str = "freezer.state";
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(20);
    loop {
        // Written again each time: processes that fork while being frozen leave the group in FREEZING.
        dir.set(FILE, "FROZEN")?;
        let state = dir
            .read(FILE)
            .map_err(|errno| Error::at("cgroup", "read", format!("{}/{FILE}", dir.label), errno))?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > until {
            let _ = dir.write(FILE, "THAWED");
            return Err(timed_out(dir));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn timed_out(dir: &Dir) -> Error {
    Error::new(
        "cgroup",
        format!("cannot pause: not every process of {} could be stopped within {} seconds", dir.label, PATIENCE.as_secs()),
    )
    .hint("a process hangs in the kernel (state D in ps), usually on a dead disk or network file system")
}
