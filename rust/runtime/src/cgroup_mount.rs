//! `/sys/fs/cgroup` of a container: its own groups, in the form that this machine has.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;
use pyd_sys::mount::{FsContext, MountAttr, attach, attr, clone_tree, set_attributes};

use crate::cgroup::{Hierarchy, Layout};
use crate::error::{Error, Result};
use crate::mounts::Entry;
use crate::weakness;

/// The hierarchies as init sees them once it is in its groups.
#[derive(Debug, Clone)]
pub struct CgroupView {
    /// `own` is the path of the container's group.
    pub layout: Layout,
    /// Whether init is in a cgroup namespace of its own, so that a fresh mount shows its groups only.
    pub namespaced: bool,
}

impl CgroupView {
    /// Attaches the filesystem that `entry` asks for.
    pub fn attach(&self, root: BorrowedFd<'_>, entry: &Entry<'_>) -> Result<()> {
        let target = entry.target(root, true)?;
        let mut attributes = entry.options.attributes.set;
        if weakness::is("cgroup-writable") {
            attributes &= !attr::RDONLY;
        }
        let mount = match &self.layout.v2 {
            Some(unified) if self.layout.v1.is_empty() => self.one(unified, true, attributes)?,
            _ => return self.attach_v1(target.as_fd(), attributes),
        };
        attach(&mount, &target).map_err(os("move_mount"))
    }

    /// A tmpfs with one directory for each hierarchy, as the host has it.
    fn attach_v1(&self, target: BorrowedFd<'_>, attributes: u64) -> Result<()> {
        let context = FsContext::open("tmpfs").map_err(os("fsopen(tmpfs)"))?;
        context
            .set("mode", "755")
            .and_then(|()| context.create())
            .map_err(os("mount tmpfs"))?;
        let directory = context
            .mount(attributes & !attr::RDONLY)
            .map_err(os("fsmount"))?;
        attach(&directory, target).map_err(os("move_mount"))?;
        for hierarchy in &self.layout.v1 {
            self.attach_in(directory.as_fd(), hierarchy, false, attributes)?;
        }
        if let Some(unified) = &self.layout.v2 {
            self.attach_in(directory.as_fd(), unified, true, attributes)?;
        }
        let readonly = MountAttr {
            set: attributes & attr::RDONLY,
            ..MountAttr::default()
        };
        set_attributes(&directory, &readonly, false).map_err(os("mount_setattr"))
    }

    /// `directory` is a fresh tmpfs that nobody else can reach, so its names are safe.
    fn attach_in(
        &self,
        directory: BorrowedFd<'_>,
        hierarchy: &Hierarchy,
        v2: bool,
        attributes: u64,
    ) -> Result<()> {
        let name = hierarchy.mountpoint.file_name().unwrap_or_default();
        mkdirat(directory, name, Mode::from_bits_truncate(0o755)).map_err(os("mkdir"))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let target = openat(directory, name, flags, Mode::empty()).map_err(os("open"))?;
        let mount = self
            .one(hierarchy, v2, attributes)
            .map_err(|e| e.context(Path::new(name).display()))?;
        attach(&mount, &target).map_err(os("move_mount"))?;
        // cpu -> cpu,cpuacct
        let alone = hierarchy.controllers.len() == 1;
        for controller in hierarchy.controllers.iter().filter(|_| !alone && !v2) {
            match symlinkat(name, directory, controller.as_str()) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(e) => return Err(os("symlink")(e)),
            }
        }
        Ok(())
    }

    /// A detached mount of one hierarchy that shows the container's part of it.
    fn one(&self, hierarchy: &Hierarchy, v2: bool, attributes: u64) -> Result<OwnedFd> {
        if self.namespaced {
            match fresh(hierarchy, v2, attributes) {
                // A hierarchy that the kernel will not mount again here (a user namespace that does not own the
                // cgroup namespace, or one that is being taken apart).
                Err(Errno::EPERM | Errno::EBUSY) => {}
                other => return other.map_err(os("mount cgroup")),
            }
        }
        let own = hierarchy
            .mountpoint
            .join(hierarchy.own.trim_start_matches('/'));
        let path = CString::new(own.as_os_str().as_bytes())
            .map_err(|_| Error::invalid("a cgroup path has a NUL"))?;
        let tree = clone_tree(AT_FDCWD, &path, true)
            .map_err(|e| Error::at("mounts", "open_tree", &own, e))?;
        let set = MountAttr {
            set: attributes,
            ..MountAttr::default()
        };
        set_attributes(&tree, &set, false).map_err(os("mount_setattr"))?;
        Ok(tree)
    }
}

fn fresh(hierarchy: &Hierarchy, v2: bool, attributes: u64) -> nix::Result<OwnedFd> {
    let context = FsContext::open(if v2 { "cgroup2" } else { "cgroup" })?;
    let _ = context.set("source", "cgroup");
    for controller in hierarchy.controllers.iter().filter(|_| !v2) {
        match controller.split_once('=') {
            Some((key, value)) => context.set(key, value)?,
            None => context.flag(controller)?,
        }
    }
    context.create()?;
    context.mount(attributes)
}

fn os(op: &'static str) -> impl Fn(Errno) -> Error {
    move |e| Error::os("mounts", op, e)
}
