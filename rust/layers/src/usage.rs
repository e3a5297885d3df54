//! How much a tree holds.
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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

impl Usage {
    fn add(&mut self, stat: &FileStat) {
        self.inodes += 1;
        self.allocated += blocks(stat);
        if matches!(stat.st_mode & 0o170_000, 0o100_000 | 0o120_000) {
            self.bytes += stat.st_size.cast_unsigned();
        }
    }
}

/// Files with several links, by device and inode.
type Linked = HashMap<(u64, u64), FileStat>;

/// The same of several trees, spread over threads. What is hard linked between them counts for the first of them, so
/// that the sum is what du(1) says of all together. One that does not exist has nothing.
pub fn disk_usage(paths: &[PathBuf], progress: &Progress) -> Result<Vec<Usage>> {
    let counted = in_threads(paths, |path| match count(path, progress) {
        Err(Error::Kernel {
            errno: Errno::ENOENT,
            ..
        }) => Ok(Default::default()),
        other => other,
    })?;
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(counted.len());
    for (mut usage, linked) in counted {
        for (inode, stat) in linked {
            if seen.insert(inode) {
                usage.add(&stat);
            }
        }
        found.push(usage);
    }
    Ok(found)
}

/// Counts `path` and everything in it, on its file system only. Files that vanish meanwhile are fine.
pub fn tree_usage(path: &Path, progress: &Progress) -> Result<Usage> {
    let (mut usage, linked) = count(path, progress)?;
    linked.values().for_each(|stat| usage.add(stat));
    Ok(usage)
}

fn count(path: &Path, progress: &Progress) -> Result<(Usage, Linked)> {
    let failed = |op| move |errno| Error::kernel(op, path.as_os_str().as_bytes(), errno);
    let mut usage = Usage::default();
    let mut linked = Linked::new();
    let stat = fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed("stat"))?;
    let is_directory = stat.st_mode & 0o170_000 == 0o040_000;
    if !is_directory && stat.st_nlink > 1 {
        linked.insert((stat.st_dev, stat.st_ino), stat);
        return Ok((usage, linked));
    }
    usage.add(&stat);
    if !is_directory {
        return Ok((usage, linked));
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
        if kind != 0o040_000 && stat.st_nlink > 1 {
            linked.entry((stat.st_dev, stat.st_ino)).or_insert(stat);
            continue;
        }
        usage.add(&stat);
        if kind == 0o040_000 && stack.len() < MAX_DEPTH {
            progress.check()?;
            let Some((directory, _)) = stack.last() else {
                break;
            };
            // A mount (EXDEV) belongs to something else; without permission nothing can be counted.
            if let Ok(frame) = open_directory(directory.as_fd(), &name).and_then(names) {
                stack.push(frame);
            }
        }
    }
    Ok((usage, linked))
}

/// st_blocks counts 512 bytes whatever the file system's block is, stat(2).
fn blocks(stat: &FileStat) -> u64 {
    stat.st_blocks.cast_unsigned() * 512
}
