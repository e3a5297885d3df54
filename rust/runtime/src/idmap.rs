//! Id maps of a user namespace (`user_namespaces(7)`), written by the parent because only it may map more than itself.

use std::fmt::Write;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitid};
use nix::unistd::Pid;
use pyd_sys::clone::Clone3;

use crate::error::{Error, Result};
use crate::procfs::Procfs;
use crate::spec::LinuxIdMapping;

/// Writes both maps of the user namespace that process `pid` has just made.
pub fn write(
    procfs: &Procfs,
    pid: Pid,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        put(procfs, pid, "gid_map", &lines(gids))?;
        return put(procfs, pid, "uid_map", &lines(uids));
    }
    // Without privilege only the own id can be mapped; the set-uid helpers of the distribution know the ranges of
    // /etc/subuid and /etc/subgid.
    if only_self(uids, nix::unistd::geteuid().as_raw())
        && only_self(gids, nix::unistd::getegid().as_raw())
    {
        put(procfs, pid, "setgroups", "deny")?;
        put(procfs, pid, "gid_map", &lines(gids))?;
        return put(procfs, pid, "uid_map", &lines(uids));
    }
    helper("newgidmap", pid, gids)?;
    helper("newuidmap", pid, uids)
}

/// A user namespace with these maps and nothing in it, for an id-mapped mount (`mount_setattr(2)`).
pub fn namespace(
    procfs: &Procfs,
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<OwnedFd> {
    let spawn = Clone3 {
        namespaces: libc::CLONE_NEWUSER as u64,
        ..Clone3::default()
    };
    let holder = spawn.spawn(|| {
        nix::unistd::pause();
        0
    });
    let holder = holder.map_err(|e| Error::os("mounts", "clone3 for an id-mapped mount", e))?;
    let namespace = write(procfs, holder.pid, uids, gids).and_then(|()| {
        let path = format!("/proc/{}/ns/user", holder.pid);
        File::open(&path)
            .map(OwnedFd::from)
            .map_err(|e| Error::at("mounts", "open", &path, raw(&e)))
    });
    // The descriptor keeps the namespace; its only process has done its duty.
    let _ = pyd_sys::pidfd::send_signal(&holder.pidfd, Signal::SIGKILL as i32);
    let _ = waitid(nix::sys::wait::Id::Pid(holder.pid), WaitPidFlag::WEXITED);
    namespace
}

fn only_self(maps: &[LinuxIdMapping], id: u32) -> bool {
    matches!(maps, [one] if one.host_id() == id && one.size() == 1)
}

fn lines(maps: &[LinuxIdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(
            text,
            "{} {} {}",
            map.container_id(),
            map.host_id(),
            map.size()
        );
        text
    })
}

fn put(procfs: &Procfs, pid: Pid, file: &str, text: &str) -> Result<()> {
    procfs
        .write(&format!("{pid}/{file}"), text)
        .map_err(|e| Error::os("namespaces", &format!("write {file}"), e))
}

fn helper(name: &str, pid: Pid, maps: &[LinuxIdMapping]) -> Result<()> {
    let program = ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name));
    let missing = || {
        Error::new(
            "namespaces",
            format!("{name} is needed to map more than the own id"),
        )
        .hint("install the package uidmap and add ranges to /etc/subuid and /etc/subgid")
    };
    let program = program
        .into_iter()
        .find(|path| path.exists())
        .ok_or_else(missing)?;
    let mut command = Command::new(&program);
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .arg(pid.to_string());
    for map in maps {
        command.args([map.container_id(), map.host_id(), map.size()].map(|n| n.to_string()));
    }
    let output = command
        .output()
        .map_err(|e| Error::at("namespaces", "run", &program, raw(&e)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::new(
        "namespaces",
        format!("{name}: {}", said.lines().next().unwrap_or("failed").trim()),
    ))
}

fn raw(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
