//! Makes the process that becomes a container's init or an exec, in the namespaces it shall have.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use pyd_sys::clone::{Clone3, NEW_NAMESPACES, Spawned};
use pyd_sys::{pidfd, process};

use crate::error::{Error, Result};
use crate::procfs::Procfs;
use crate::spec::{self, LinuxNamespaceType, LinuxTimeOffset, Spec};
use crate::sync::{Channel, Report};

/// `CLONE_NEWTIME`; too big a value for the libc crate's constant of clone flags.
const NEW_TIME: u64 = 0x80;

/// The namespaces of a container: made anew, or joined.
#[derive(Debug)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those made by `clone3`. Not the cgroup namespace: its root is where its maker is, so init makes
    /// it itself once it is in its cgroup.
    pub new: u64,
    /// Whether init makes a cgroup namespace.
    pub new_cgroup: bool,
    /// Kind and descriptor of those given by path, opened (and checked) in the parent.
    joined: Vec<(u64, OwnedFd)>,
    time: Option<String>,
}

impl Namespaces {
    /// Opens what the spec names by path.
    pub fn prepare(spec: &Spec) -> Result<Self> {
        let all = spec::new_namespaces(spec);
        let new_cgroup = all & libc::CLONE_NEWCGROUP as u64 != 0;
        let mut joined = Vec::new();
        for ns in spec::namespaces(spec) {
            if let Some(path) = ns.path() {
                joined.push((spec::flag(ns.typ()), open_namespace(path, ns.typ())?));
            }
        }
        let offsets = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.time_offsets().as_ref());
        let time = (all & NEW_TIME != 0).then(|| {
            let line = |(clock, offset): (&String, &LinuxTimeOffset)| {
                format!(
                    "{clock} {} {}\n",
                    offset.secs().unwrap_or(0),
                    offset.nanosecs().unwrap_or(0)
                )
            };
            offsets.into_iter().flatten().map(line).collect::<String>()
        });
        let new = all & NEW_NAMESPACES & !(libc::CLONE_NEWCGROUP as u64);
        Ok(Self {
            new,
            new_cgroup,
            joined,
            time,
        })
    }

    /// Whether the processes of the container have a pid namespace of their own.
    #[must_use]
    pub fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.new & spec::flag(kind) != 0
    }

    /// Whether a namespace of the kind was given by path.
    #[must_use]
    pub fn joins(&self, kind: LinuxNamespaceType) -> bool {
        self.joined
            .iter()
            .any(|(flag, _)| *flag == spec::flag(kind))
    }

    /// Runs `child` as a child process of the caller in these namespaces, from its start in `cgroup` (version 2).
    ///
    /// `parent` is the caller's end of the channel, `in_between` the child's.
    pub fn spawn(
        &self,
        cgroup: Option<BorrowedFd<'_>>,
        parent: &Channel,
        in_between: &Channel,
        child: impl FnOnce() -> i32,
    ) -> Result<Spawned> {
        let direct = Clone3 {
            namespaces: self.new,
            cgroup,
            sibling: false,
        };
        if self.joined.is_empty() && self.time.is_none() {
            return direct.spawn(child).map_err(refused);
        }
        // setns and unshare for the pid and time namespace take effect for children only, and namespaces of the host
        // must be joined before a new user namespace takes the power to do so: a process in between does both, and
        // its child is made ours by CLONE_PARENT.
        let between = Clone3::default().spawn(|| {
            let made = self.enter().and_then(|()| {
                let sibling = Clone3 {
                    namespaces: self.new,
                    cgroup,
                    sibling: true,
                };
                sibling.spawn(child).map_err(refused)
            });
            match made.and_then(|made| in_between.pid(made.pid.as_raw())) {
                Ok(()) => 0,
                Err(error) => {
                    in_between.fail(&error);
                    1
                }
            }
        });
        let between = between.map_err(refused)?;
        adopt(parent, between.pid)
    }

    fn enter(&self) -> Result<()> {
        if let Some(offsets) = &self.time {
            unshare(CloneFlags::from_bits_retain(NEW_TIME as i32))
                .map_err(|e| Error::os("namespaces", "unshare(time)", e))?;
            if !offsets.is_empty() {
                let pid = std::process::id();
                let written = Procfs::host()?.write(&format!("{pid}/timens_offsets"), offsets);
                written.map_err(|e| Error::os("namespaces", "write timens_offsets", e))?;
            }
        }
        let join =
            |(flag, fd): &&(u64, OwnedFd)| setns(fd, CloneFlags::from_bits_retain(*flag as i32));
        let user = spec::flag(LinuxNamespaceType::User);
        let (users, others): (Vec<_>, Vec<_>) =
            self.joined.iter().partition(|(flag, _)| *flag == user);
        // Those of the host can be joined before the user namespace only, those that belong to it only after.
        let late: Vec<_> = others.into_iter().filter(|ns| join(ns).is_err()).collect();
        for ns in users.iter().chain(&late) {
            join(ns).map_err(|e| Error::os("namespaces", "setns", e).context(kind_name(ns.0)))?;
        }
        if !users.is_empty() {
            // Ids of the old namespace mean nothing here.
            process::set_gid(0)
                .and_then(|()| process::set_uid(0))
                .map_err(|e| {
                    Error::os("namespaces", "setresuid", e)
                        .hint("the joined user namespace maps no root")
                })?;
        }
        Ok(())
    }
}

/// The parent's half of a detour over a process in between: reaps it and takes over its child.
pub fn adopt(parent: &Channel, between: Pid) -> Result<Spawned> {
    let report = parent.report();
    let status = waitid(Id::Pid(between), WaitPidFlag::WEXITED);
    match report? {
        Report::Pid(pid) => {
            let pid = Pid::from_raw(pid);
            let pidfd = pidfd::open(pid).map_err(|e| Error::os("namespaces", "pidfd_open", e))?;
            Ok(Spawned { pid, pidfd })
        }
        Report::Failed(error) => Err(error),
        _ => Err(Error::new(
            "namespaces",
            format!("the process in between has died ({})", fate(status)),
        )),
    }
}

fn fate(status: nix::Result<WaitStatus>) -> String {
    match status {
        Ok(WaitStatus::Signaled(_, signal, _)) => signal.to_string(),
        Ok(WaitStatus::Exited(_, code)) => format!("exit status {code}"),
        other => format!("{other:?}"),
    }
}

fn open_namespace(path: &Path, kind: LinuxNamespaceType) -> Result<OwnedFd> {
    let file = File::open(path).map_err(|e| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        Error::at("namespaces", "open", path, errno)
            .hint("the container whose namespace is shared may have stopped")
    })?;
    match process::namespace_kind(file.as_fd()) {
        Ok(found) if found as u64 == spec::flag(kind) => Ok(file.into()),
        _ => Err(Error::invalid(format!(
            "{} is not a {} namespace",
            path.display(),
            kind_name(spec::flag(kind))
        ))),
    }
}

fn kind_name(flag: u64) -> &'static str {
    let names = [
        (libc::CLONE_NEWNS, "mount"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWUSER, "user"),
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWNET, "network"),
    ];
    names
        .iter()
        .find(|(known, _)| *known as u64 == flag)
        .map_or("time", |(_, name)| name)
}

fn refused(errno: Errno) -> Error {
    let error = Error::os("namespaces", "clone3", errno);
    match errno {
        Errno::ENOSPC => error.hint("a limit of /proc/sys/user/max_*_namespaces is reached"),
        Errno::EPERM => {
            error.hint("new namespaces need CAP_SYS_ADMIN, or a user namespace beside them")
        }
        Errno::EAGAIN => error.hint("a limit of processes is reached (RLIMIT_NPROC or pids.max)"),
        Errno::EBUSY => error.hint("the cgroup has children with controllers of their own"),
        _ => error,
    }
}
