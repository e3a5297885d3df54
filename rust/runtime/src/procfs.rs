//! procfs that is known to be procfs, reached by descriptor: what is written to it takes effect in the kernel and
//! nowhere else, whatever an image or another container has mounted or linked (CVE-2019-16884, CVE-2025-52881).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use pyd_sys::mount::{FsContext, attr};
use pyd_sys::path::open_beneath;

use crate::error::{Error, Result};
use crate::weakness;

/// A procfs.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

impl Procfs {
    /// The caller's own `/proc`, opened before any namespace is changed.
    pub fn host() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open("/proc", flags, Mode::empty())
            .map_err(|e| Error::at("namespaces", "open", "/proc", e))?;
        let kind = fstatfs(&fd).map_err(|e| Error::at("namespaces", "statfs", "/proc", e))?;
        if kind.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(
                Error::new("namespaces", "/proc is not a procfs").hint("mount -t proc proc /proc")
            );
        }
        Ok(Self(fd))
    }

    /// A new one of the caller's pid namespace that is mounted nowhere.
    pub fn private() -> nix::Result<Self> {
        if weakness::is("procfs-by-name") {
            return open("/proc", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map(Self);
        }
        let context = FsContext::open("proc")?;
        context.create()?;
        Ok(Self(
            context.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC)?,
        ))
    }

    /// Whatever lies at `/proc` of a container: only for a control of the tests (`weakness.rs`).
    pub fn in_root(root: BorrowedFd<'_>) -> Result<Self> {
        openat(
            root,
            "proc",
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
        .map_err(|e| Error::at("sysctl", "open", "/proc", e))
    }

    /// Writes `value` to a file below, in one `write(2)` as the kernel's files want it.
    pub fn write(&self, path: &str, value: &str) -> nix::Result<()> {
        let file = match weakness::is("procfs-by-name") {
            true => openat(&self.0, path, OFlag::O_WRONLY, Mode::empty())?,
            false => open_beneath(self.0.as_fd(), path, OFlag::O_WRONLY)?,
        };
        match nix::unistd::write(&file, value.as_bytes())? {
            n if n == value.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// Reads a small file below.
    pub fn read(&self, path: &str) -> nix::Result<String> {
        let file = open_beneath(self.0.as_fd(), path, OFlag::O_RDONLY)?;
        let mut text = vec![0u8; 4096];
        let n = nix::unistd::read(&file, &mut text)?;
        text.truncate(n);
        String::from_utf8(text).map_err(|_| Errno::EILSEQ)
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
