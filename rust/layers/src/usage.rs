//! How much a tree holds.
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, fstatat};

use crate::error::{Error, Result};
use crate::listing::{list, open_directory};
use crate::progress::Progress;

/// Directories open at once; what is deeper is not counted. Nothing but an attack is.
const MAX_DEPTH: usize = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Lengths of regular files and symbolic links, as Docker counts; hard links once.
    pub bytes: u64,
    pub inodes: u64,
}

/// Counts `path` and everything in it, on its file system only. Files that vanish meanwhile are fine.
pub fn tree_usage(path: &Path, progress: &Progress) -> Result<Usage> {
    let failed = |op| move |errno| Error::kernel(op, path.as_os_str().as_bytes(), errno);
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let stat = fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed("stat"))?;
    usage.inodes += 1;
    if stat.st_mode & 0o170_000 != 0o040_000 {
        usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
        return Ok(usage);
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let root = open(path, flags, Mode::empty()).map_err(failed("open"))?;
    let names = |directory: OwnedFd| -> nix::Result<_> {
        let names: Vec<Vec<u8>> = list(directory.as_fd())?
            .into_iter()
            .map(|listed| listed.name)
            .collect();
        Ok((directory, names))
    };
    let mut stack = vec![names(root).map_err(failed("readdir"))?];
    while let Some((directory, left)) = stack.last_mut() {
        let Some(name) = left.pop() else {
            stack.pop();
            continue;
        };
        let stat = match fstatat(&*directory, name.as_slice(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(failed("stat")(errno)),
        };
        let kind = stat.st_mode & 0o170_000;
        if kind != 0o040_000 && stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        usage.inodes += 1;
        match kind {
            0o100_000 | 0o120_000 => usage.bytes += stat.st_size.cast_unsigned(),
            0o040_000 if stack.len() < MAX_DEPTH => {
                progress.check()?;
                let Some((directory, _)) = stack.last() else {
                    break;
                };
                // A mount (EXDEV) belongs to something else; without permission nothing can be counted.
                if let Ok(frame) = open_directory(directory.as_fd(), &name).and_then(names) {
                    stack.push(frame);
                }
            }
            _ => {}
        }
    }
    Ok(usage)
}
