//! The processes of a container: listing, signalling, killing.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::directory::Dir;
use super::freezer;
use super::place::Places;
use crate::error::{Error, Result};

/// Host pids in the group and in those below it.
pub(crate) fn pids(places: &Places) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    if let Some(dir) = tree(places) {
        collect(dir, &mut pids).map_err(|errno| {
            Error::at(
                "cgroup",
                "read",
                format!("{}/cgroup.procs", dir.label),
                errno,
            )
        })?;
    }
    Ok(pids)
}

/// Any hierarchy knows the members; the freezer's is the one that no container rearranges.
fn tree(places: &Places) -> Option<&Dir> {
    places
        .v2
        .as_ref()
        .map(|group| &group.dir)
        .or_else(|| places.v1("freezer"))
        .or_else(|| places.v1.first().map(|group| &group.dir))
}

fn collect(dir: &Dir, pids: &mut Vec<i32>) -> nix::Result<()> {
    match dir.read("cgroup.procs") {
        // 0 stands for a process outside of our pid namespace: not ours to signal.
        Ok(text) => pids.extend(
            text.lines()
                .filter_map(|line| line.parse::<i32>().ok())
                .filter(|pid| *pid > 0),
        ),
        // A removed group is an empty one; a threaded group's processes are listed by its parent.
        Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    for name in dir.children() {
        match dir.child(&name) {
            Ok(child) => collect(&child, pids)?,
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

pub(crate) fn signal_all(places: &Places, signal: Signal) -> Result<()> {
    if signal == Signal::SIGKILL {
        return kill_all(places);
    }
    send(places, signal)
}

pub(crate) fn kill_all(places: &Places) -> Result<()> {
    if let Some(dir) = places.v2.as_ref().map(|group| &group.dir) {
        match dir.write("cgroup.kill", "1") {
            Ok(()) => return thaw_v1(places),
            // Before Linux 5.14, or a threaded group.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(dir.refused("cgroup.kill", "1", errno)),
        }
    }
    // A fork bomb outruns a list of pids, so the group is stopped first where it can be. Signals wait until the thaw.
    let _ = freezer::freeze(places);
    let sent = send(places, Signal::SIGKILL);
    freezer::thaw(places)?;
    sent
}

/// cgroup.kill does not reach through the v1 freezer.
fn thaw_v1(places: &Places) -> Result<()> {
    if !freezer::frozen_on_v1(places) {
        return Ok(());
    }
    freezer::thaw(places)
}

fn send(places: &Places, signal: Signal) -> Result<()> {
    let own = Pid::this();
    for pid in pids(places)?
        .into_iter()
        .map(Pid::from_raw)
        .filter(|pid| *pid != own)
    {
        match kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::os("cgroup", &format!("kill {pid}"), errno)),
        }
    }
    Ok(())
}
