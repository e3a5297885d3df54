//! Noticing that the kernel's OOM killer has been at work in a container.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::stat::Mode;

use super::directory::Dir;
use super::place::{Place, Places};
use super::stats::value_of;

/// Processes that the OOM killer has killed in the group.
pub(crate) fn kills(places: &Places) -> u64 {
    let (text, key) = match places.find("memory", "memory") {
        // Since Linux 4.13.
        Some(Place::V1(dir)) => (dir.read("memory.oom_control"), "oom_kill"),
        Some(Place::V2(dir)) => (dir.read("memory.events"), "oom_kill"),
        None => return 0,
    };
    text.ok().and_then(|text| value_of(&text, key)).unwrap_or(0)
}

/// A descriptor that polls readable after an OOM, and when the group is removed; [`kills`] tells which it was.
pub(crate) fn event_fd(places: &Places) -> Option<OwnedFd> {
    match places.find("memory", "memory")? {
        Place::V1(dir) => event_fd_v1(dir),
        Place::V2(dir) => event_fd_v2(dir),
    }
}

/// Registering for the event leaves the OOM killer as it is (memory.oom_control must not be written for this).
fn event_fd_v1(dir: &Dir) -> Option<OwnedFd> {
    let event =
        EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok()?;
    let control = openat(
        dir.fd(),
        "memory.oom_control",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let registration = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &registration).ok()?;
    Some(event.into())
}

fn event_fd_v2(dir: &Dir) -> Option<OwnedFd> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    // Through the descriptor, so that the directory is the one that is held and not what its name means by now.
    let path = format!("/proc/self/fd/{}/memory.events", dir.fd().as_raw_fd());
    inotify
        .add_watch(path.as_str(), AddWatchFlags::IN_MODIFY)
        .ok()?;
    Some(inotify.into())
}
