//! How much a tree holds.
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstatat};

use crate::error::{Error, Result};
use crate::listing::{list, open_directory};
use crate::progress::Progress;
use crate::threads::in_threads;

/// Directories open at once; what is deeper is not counted. Nothing but an attack is.
const MAX_DEPTH: usize = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Lengths of regular files and symbolic links, as Docker counts; hard links once.
    pub bytes: u64,
    pub inodes: u64,
    /// Bytes of disk that are allocated for all of it, directories too, as du(1) counts.
    pub allocated: u64,
}

/// The same of several trees, spread over threads. What is hard linked between them counts for one of them only, so
/// that the sum is what du(1) says of all together. One that does not exist has nothing.
pub fn disk_usage(paths: &[PathBuf], progress: &Progress) -> Result<Vec<Usage>> {
    let seen = Mutex::new(HashSet::new());
    in_threads(paths, |path| match count(path, &seen, progress) {
        Err(Error::Kernel { errno, .. }) if errno == Errno::ENOENT => Ok(Usage::default()),
        other => other,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts `path` and everything in it, on its file system only. Files that vanish meanwhile are fine.
pub fn tree_usage(path: &Path, progress: &Progress) -> Result<Usage> {
    count(path, &Mutex::new(HashSet::new()), progress)
}

/// Device and inode of files with several links that were counted already.
type Seen = Mutex<HashSet<(u64, u64)>>;

fn count(path: &Path, seen: &Seen, progress: &Progress) -> Result<Usage> {
    let failed = |op| move |errno| Error::kernel(op, path.as_os_str().as_bytes(), errno);
    let mut usage = Usage::default();
    let stat = fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed("stat"))?;
    let is_directory = stat.st_mode & 0o170_000 == 0o040_000;
    if !is_directory && stat.st_nlink > 1 && !lock(seen).insert((stat.st_dev, stat.st_ino)) {
        return Ok(usage);
    }
    usage.inodes += 1;
    usage.allocated += blocks(&stat);
    if !is_directory {
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
        if kind != 0o040_000 && stat.st_nlink > 1 && !lock(seen).insert((stat.st_dev, stat.st_ino))
        {
            continue;
        }
        usage.inodes += 1;
        usage.allocated += blocks(&stat);
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

/// st_blocks counts 512 bytes whatever the file system's block is, stat(2).
fn blocks(stat: &FileStat) -> u64 {
    stat.st_blocks.cast_unsigned() * 512
}
