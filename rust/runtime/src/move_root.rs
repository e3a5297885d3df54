//! A root without pivot_root(2) (`--no-pivot`): for a host that runs from the kernel's own rootfs, its initramfs.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chroot, fchdir};

use crate::error::{Error, Result};
use crate::rootfs::propagate;

/// Child: moves the mount `root`, attached at `path`, over `/` and makes it the root.
///
/// The host's tree stays below. Its procfs and sysfs are taken away first, or hidden where they cannot be: whoever
/// escapes the chroot shall not find one in which nothing is masked.
pub fn move_root(root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let os = |op: &'static str| move |e: Errno| Error::os("rootfs", op, e);
    let own = fs::canonicalize(path).map_err(|e| io(path, &e))?;
    for point in kernel_mounts()?
        .iter()
        .filter(|point| !point.starts_with(&own))
    {
        match point.symlink_metadata() {
            Ok(_) => take_away(point)?,
            // Gone with the one that it lay on.
            Err(_) => continue,
        }
    }
    fchdir(root).map_err(os("fchdir"))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .map_err(os("move the root over /"))?;
    chroot(".").map_err(os("chroot"))
}

fn take_away(point: &Path) -> Result<()> {
    let failed = |op: &'static str| move |e: Errno| Error::at("rootfs", op, point, e);
    match propagate(point, MsFlags::MS_SLAVE | MsFlags::MS_REC) {
        // No mount point any more.
        Err(error) if error.errno() == Some(Errno::EINVAL) => return Ok(()),
        other => other?,
    }
    match umount2(point, MntFlags::MNT_DETACH) {
        // A user namespace may not uncover what its maker has mounted.
        Err(Errno::EINVAL | Errno::EPERM) => mount(
            Some("tmpfs"),
            point,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .map_err(failed("hide")),
        other => other.map_err(failed("umount")),
    }
}

/// Mount points of procfs and sysfs in this mount namespace, in the order of mounting.
fn kernel_mounts() -> Result<Vec<PathBuf>> {
    let table = "/proc/self/mountinfo";
    let text = fs::read_to_string(table).map_err(|e| io(Path::new(table), &e))?;
    Ok(text.lines().filter_map(kernel_mount).collect())
}

fn kernel_mount(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let kind = filesystem.split(' ').next()?;
    let point = mount.split(' ').nth(4)?;
    // proc_pid_mountinfo(5): blanks are written as octal numbers.
    let point = point
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\");
    matches!(kind, "proc" | "sysfs").then(|| point.into())
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    Error::at("rootfs", "read", path, errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernel_s_own() {
        let found = |line| kernel_mount(line);
        assert_eq!(
            found("24 1 0:22 / /a\\040b rw,nosuid shared:5 - proc proc rw"),
            Some("/a b".into())
        );
        assert_eq!(found("24 1 0:22 / /tmp rw - tmpfs proc rw"), None);
    }
}
