//! Paths that the container must not read (masked) or write (read-only).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use pyd_sys::mount::{FsContext, MountAttr, attach, attr, clone_tree, set_attributes};
use pyd_sys::path::{is_directory, open_in_root};

use crate::devices::host_null;
use crate::error::{Error, Result};
use crate::weakness;

/// Child, before the host's tree is gone: covers the paths below `root`. Those that do not exist need no cover.
pub fn cover(root: BorrowedFd<'_>, readonly: &[String], masked: &[String]) -> Result<()> {
    if weakness::is("no-masks") {
        return Ok(());
    }
    for path in readonly {
        if let Some(target) = find(root, path)? {
            protect(&target).map_err(|e| Error::at("masks", "make read-only", path, e))?;
        }
    }
    let mut null = None;
    let mut empty: Option<OwnedFd> = None;
    for path in masked {
        let Some(target) = find(root, path)? else {
            continue;
        };
        let failed = |op: &'static str| move |e: Errno| Error::at("masks", op, path, e);
        if !is_directory(&target).map_err(failed("fstat"))? {
            let null: &OwnedFd = match &null {
                Some(null) => null,
                None if weakness::is("null-of-the-container") => null.insert(
                    open_in_root(root, "/dev/null", OFlag::O_PATH).map_err(failed("open null"))?,
                ),
                None => null.insert(host_null()?),
            };
            let cover = clone_tree(null.as_fd(), c"", false).map_err(failed("mask"))?;
            attach(&cover, &target).map_err(failed("mask"))?;
            continue;
        }
        // One empty tmpfs covers all directories; a copy can be taken once it is attached.
        let cover = match &empty {
            Some(empty) => clone_tree(empty.as_fd(), c"", false).map_err(failed("mask"))?,
            None => empty_tmpfs().map_err(failed("mask"))?,
        };
        attach(&cover, &target).map_err(failed("mask"))?;
        empty.get_or_insert(cover);
    }
    Ok(())
}

fn find(root: BorrowedFd<'_>, path: &str) -> Result<Option<OwnedFd>> {
    match open_in_root(root, path, OFlag::O_PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(e) => Err(Error::at("masks", "open", path, e)),
    }
}

/// The path becomes a mount of its own, because only a mount can be read-only.
fn protect(target: &OwnedFd) -> nix::Result<()> {
    let tree = clone_tree(target.as_fd(), c"", true)?;
    let readonly = MountAttr {
        set: attr::RDONLY,
        ..MountAttr::default()
    };
    set_attributes(&tree, &readonly, true)?;
    attach(&tree, target)
}

fn empty_tmpfs() -> nix::Result<OwnedFd> {
    let context = FsContext::open("tmpfs")?;
    context.set("size", "0k")?;
    context.set("nr_inodes", "1")?;
    context.create()?;
    context.mount(attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC)
}
