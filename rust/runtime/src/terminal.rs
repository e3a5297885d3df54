//! The pty of a process in a container: made by the container's own devpts, its master handed to the parent.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fstat, makedev};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use pyd_sys::mount::{attach, clone_tree};
use pyd_sys::path::{make_file, open_in_root};
use pyd_sys::pty;

use crate::error::{Error, Result};
use crate::spec::Process;
use crate::sync::Channel;
use crate::weakness;

/// `DEVPTS_SUPER_MAGIC`.
const DEVPTS: FsType = FsType(0x1cd1);

/// A pty whose slave will be the standard streams.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    /// Makes a pty in the devpts of `root`, in the host's if the container has none.
    pub fn open(root: BorrowedFd<'_>, process: &Process) -> Result<Self> {
        let failed = |op: &'static str| move |e: Errno| Error::os("terminal", op, e);
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY;
        let master = match open_in_root(root, "/dev/pts/ptmx", OFlag::O_PATH) {
            // Nothing is opened before it is known to be the multiplexer: an image can have a FIFO or another
            // device there.
            Ok(pinned) if is_multiplexer(&pinned)? => open_in_root(root, "/dev/pts/ptmx", flags),
            _ => open("/dev/ptmx", flags | OFlag::O_CLOEXEC, Mode::empty()),
        }
        .map_err(failed("open ptmx"))?;
        if !is_multiplexer(&master)? {
            return Err(Error::new(
                "terminal",
                "/dev/pts/ptmx is not a terminal multiplexer",
            ));
        }
        pty::unlock(&master).map_err(failed("TIOCSPTLCK"))?;
        let slave = pty::open_slave(&master).map_err(failed("TIOCGPTPEER"))?;
        if let Some(size) = process.console_size() {
            let clamp = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            pty::set_size(&master, clamp(size.height()), clamp(size.width()))
                .map_err(failed("TIOCSWINSZ"))?;
        }
        Ok(Self { master, slave })
    }

    /// Shows the terminal as `/dev/console` below `root`.
    pub fn bind_console(&self, root: BorrowedFd<'_>) -> Result<()> {
        let failed =
            |op: &'static str| move |e: Errno| Error::at("terminal", op, "/dev/console", e);
        let target =
            make_file(root, std::path::Path::new("/dev/console")).map_err(failed("create"))?;
        if weakness::is("console-by-name") {
            // Where a link takes its place, the wrong file is bound.
            let name = nix::unistd::ttyname(&self.slave).map_err(failed("ttyname"))?;
            let slave = open_in_root(root, &name, OFlag::O_PATH).map_err(failed("open slave"))?;
            let tree = clone_tree(slave.as_fd(), c"", false).map_err(failed("open_tree"))?;
            return attach(&tree, &target).map_err(failed("bind"));
        }
        // The slave that belongs to our master, whatever lies at its name (CVE-2025-52565).
        let tree = clone_tree(self.slave.as_fd(), c"", false).map_err(failed("open_tree"))?;
        attach(&tree, &target).map_err(failed("bind"))
    }

    /// Hands the master to the parent and makes the slave stdin, stdout, stderr and controlling terminal. The caller
    /// is a session leader.
    pub fn become_stdio(self, channel: &Channel) -> Result<()> {
        let failed = |op: &'static str| move |e: Errno| Error::os("terminal", op, e);
        channel.console(&self.master)?;
        pty::set_controlling(&self.slave).map_err(failed("TIOCSCTTY"))?;
        dup2_stdin(&self.slave).map_err(failed("dup2"))?;
        dup2_stdout(&self.slave).map_err(failed("dup2"))?;
        dup2_stderr(&self.slave).map_err(failed("dup2"))
    }
}

fn is_multiplexer(fd: &OwnedFd) -> Result<bool> {
    let stat = fstat(fd).map_err(|e| Error::os("terminal", "fstat", e))?;
    let kind = fstatfs(fd).map_err(|e| Error::os("terminal", "fstatfs", e))?;
    // The host's may be a plain node outside of devpts.
    Ok(stat.st_rdev == makedev(5, 2) && (kind.filesystem_type() == DEVPTS || stat.st_uid == 0))
}

/// Makes the given descriptors stdin, stdout and stderr; `None` keeps what is there.
pub fn replace_stdio(stdio: &[Option<OwnedFd>; 3]) -> Result<()> {
    let failed = |e: Errno| Error::os("terminal", "dup2", e);
    if let Some(fd) = &stdio[0] {
        dup2_stdin(fd).map_err(failed)?;
    }
    if let Some(fd) = &stdio[1] {
        dup2_stdout(fd).map_err(failed)?;
    }
    if let Some(fd) = &stdio[2] {
        dup2_stderr(fd).map_err(failed)?;
    }
    Ok(())
}
