//! The identity of the process: ids, groups, home directory, ownership of its stdio.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stderr, stdin, stdout};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchown, isatty};
use pyd_sys::process;

use crate::error::{Error, Result};
use crate::spec::User;

/// Bytes of `/etc/passwd` that are read: an image may carry an endless one.
const PASSWD_LIMIT: u64 = 1 << 20;

/// Becomes the user. Groups first, user last: each step needs the power that the next one gives away.
pub fn become_user(user: &User) -> Result<()> {
    let groups = user.additional_gids().as_deref().unwrap_or(&[]);
    match process::set_groups(groups) {
        // In a user namespace made by an unprivileged user setgroups is denied (user_namespaces(7)); the groups are
        // the maker's and hold no power that it lacks.
        Err(Errno::EPERM) if groups.is_empty() => {}
        Err(e) => return Err(unmapped(e, "setgroups", &format!("{groups:?}"))),
        Ok(()) => {}
    }
    process::set_gid(user.gid()).map_err(|e| unmapped(e, "setresgid", &user.gid().to_string()))?;
    process::set_uid(user.uid()).map_err(|e| unmapped(e, "setresuid", &user.uid().to_string()))?;
    nix::sys::stat::umask(Mode::from_bits_truncate(user.umask().unwrap_or(0o022)));
    Ok(())
}

fn unmapped(errno: Errno, op: &str, ids: &str) -> Error {
    let error = Error::os("user", op, errno).context(format!("id {ids}"));
    match errno {
        Errno::EINVAL => error.hint("the id is not in the container's uidMappings or gidMappings"),
        _ => error,
    }
}

/// Gives stdin, stdout and stderr to the user, so that `/dev/stdout` can be opened again after the change of user.
/// Devices other than terminals (`/dev/null`) stay as they are: they are the host's.
pub fn own_stdio(uid: u32) {
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    for fd in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()] {
        let Ok(stat) = fstat(fd) else { continue };
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        let device = kind == SFlag::S_IFCHR && !isatty(fd).unwrap_or(false);
        if stat.st_uid == uid || device || kind == SFlag::S_IFREG {
            continue;
        }
        // A read-only or foreign filesystem refuses; the process then has what it was given.
        let _ = fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>);
    }
}

/// Home directory of the user in the container's `/etc/passwd`, `/` when it has none. Called inside the container:
/// the file is the image's, so it is opened without blocking on a FIFO and read up to a limit.
#[must_use]
pub fn home(uid: u32) -> String {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let found = open("/etc/passwd", flags, Mode::empty())
        .ok()
        .and_then(|file| {
            let regular = fstat(&file)
                .is_ok_and(|s| s.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits());
            regular.then(|| home_in(BufReader::new(File::from(file).take(PASSWD_LIMIT)), uid))?
        });
    found.unwrap_or_else(|| "/".to_owned())
}

fn home_in(passwd: impl BufRead, uid: u32) -> Option<String> {
    passwd
        .split(b'\n')
        .map_while(std::result::Result::ok)
        .find_map(|line| {
            let line = String::from_utf8(line).ok()?;
            let mut fields = line.split(':').skip(2);
            // All digits: u32's parser would take "+0" as well (CVE-2026-30892's class).
            let id = fields
                .next()
                .filter(|id| id.bytes().all(|b| b.is_ascii_digit()))?;
            if id.parse() != Ok(uid) {
                return None;
            }
            fields
                .nth(2)
                .filter(|home| home.starts_with('/') && !home.contains('\0'))
                .map(str::to_owned)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_of_the_id_only() {
        let passwd =
            "evil:x:+0:0::/evil:/\nbad\nroot:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:\n";
        let home = |uid| home_in(passwd.as_bytes(), uid);
        assert_eq!(home(0).as_deref(), Some("/root"));
        assert_eq!(home(1000).as_deref(), Some("/home/u"));
        assert_eq!(home(7), None);
    }
}
