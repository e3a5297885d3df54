//! The root of the container: an overlay or a directory, attached in the container's own mount namespace, and the
//! step into it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, fchdir, pivot_root};
use pyd_sys::mount::{MountAttr, attach, attr, clone_tree, set_attributes};
use pyd_sys::overlay::Stack;

use crate::empty_layers;
use crate::error::{Error, Result};
use crate::mount_options::propagation;
use crate::move_root::move_root;
use crate::spec::{self, Overlay, Spec};
use crate::weakness;

/// How the root is made.
#[derive(Debug)]
pub struct Rootfs {
    path: PathBuf,
    overlay: Option<Overlay>,
    readonly: bool,
    /// Reach the root by moving it over `/`, not by pivot_root.
    no_pivot: bool,
    /// `MS_*` flag and recursion of `linux.rootfsPropagation`.
    propagation: Option<(u64, bool)>,
    /// The root as a detached mount of the parent, where init itself lacks the power over the directories.
    prepared: Option<OwnedFd>,
}

impl Rootfs {
    /// Reads what the spec says; `bundle` is absolute.
    pub fn prepare(spec: &Spec, bundle: &Path, no_pivot: bool) -> Result<Self> {
        let root = spec
            .root()
            .as_ref()
            .ok_or_else(|| Error::invalid("root is missing"))?;
        let path = bundle.join(root.path());
        let named = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.rootfs_propagation().as_deref());
        let propagation = match named.filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => Some(propagation(name).ok_or_else(|| {
                Error::invalid(format!("linux.rootfsPropagation \"{name}\" is unknown"))
            })?),
        };
        let readonly = root.readonly().unwrap_or(false);
        let mut overlay = spec::overlay(spec)?;
        if let Some(overlay) = &mut overlay {
            empty_layers::fill_up(overlay, bundle)?;
        }
        let mut rootfs = Self {
            path,
            overlay,
            readonly,
            no_pivot,
            propagation,
            prepared: None,
        };
        if spec::new_namespaces(spec) & libc::CLONE_NEWUSER as u64 != 0
            && nix::unistd::geteuid().is_root()
        {
            // Mapped root may not walk to the layers below the data root; a mount made by the parent needs no walk.
            let mount = rootfs.detached()?;
            follow_only(&mount).map_err(|e| Error::at("rootfs", "make slave", &rootfs.path, e))?;
            rootfs.prepared = Some(mount);
        }
        Ok(rootfs)
    }

    /// The root's directory on the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Child: cuts the new mount namespace off from the host's and attaches the root. The descriptor is the mount.
    pub fn attach(&mut self) -> Result<OwnedFd> {
        // Slave, so that a bind mount asked to be rslave still gets what the host mounts later, and nothing goes back.
        let flags = match self.propagation {
            Some((flag, _)) if flag == libc::MS_PRIVATE => MsFlags::MS_PRIVATE,
            Some((flag, _)) if flag == libc::MS_SHARED => MsFlags::MS_SHARED,
            _ => MsFlags::MS_SLAVE,
        };
        if !weakness::is("shared-with-the-host") {
            propagate("/", flags | MsFlags::MS_REC)?;
        }
        let target = self.pin()?;
        if flags == MsFlags::MS_SHARED {
            // pivot_root refuses a root below a shared mount, and the root must not appear on the host.
            self.unshare_parent()?;
        }
        let mount = match self.prepared.take() {
            Some(mount) => mount,
            None => self.detached()?,
        };
        attach(&mount, &target).map_err(|e| Error::at("rootfs", "attach", &self.path, e))?;
        Ok(mount)
    }

    fn pin(&self) -> Result<OwnedFd> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(&self.path, flags, Mode::empty())
            .map_err(|e| Error::at("rootfs", "open", &self.path, e).context("root.path"))
    }

    fn detached(&self) -> Result<OwnedFd> {
        match &self.overlay {
            Some(overlay) => mount_overlay(overlay),
            None => {
                let path = self.pin()?;
                clone_tree(path.as_fd(), c"", true)
                    .map_err(|e| Error::at("rootfs", "open_tree", &self.path, e))
            }
        }
    }

    fn unshare_parent(&self) -> Result<()> {
        let private = MountAttr {
            propagation: libc::MS_PRIVATE,
            ..MountAttr::default()
        };
        // EINVAL: this directory is not itself a mount; the mount it lies on is that of a parent directory.
        for path in self.path.ancestors() {
            let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
            let fd = open(path, flags, Mode::empty())
                .map_err(|e| Error::at("rootfs", "open", path, e))?;
            match set_attributes(&fd, &private, false) {
                Ok(()) => return Ok(()),
                Err(Errno::EINVAL) => continue,
                Err(e) => return Err(Error::at("rootfs", "make private", path, e)),
            }
        }
        Ok(())
    }

    /// Child: makes the root the only tree there is, and `/` the working directory.
    pub fn enter(&self, root: BorrowedFd<'_>) -> Result<()> {
        let os = |op: &'static str| move |e: Errno| Error::os("rootfs", op, e);
        if self.readonly {
            let readonly = MountAttr {
                set: attr::RDONLY,
                ..MountAttr::default()
            };
            set_attributes(root, &readonly, false).map_err(os("make the root read-only"))?;
        }
        fchdir(root).map_err(os("fchdir"))?;
        if self.no_pivot {
            move_root(root, &self.path)?;
        } else {
            self.pivot()?;
        }
        chdir("/").map_err(os("chdir"))?;
        if let Some((flag, recursive)) = self.propagation {
            let recursion = if recursive {
                MsFlags::MS_REC
            } else {
                MsFlags::empty()
            };
            propagate("/", MsFlags::from_bits_retain(flag) | recursion)?;
        }
        Ok(())
    }

    /// The working directory, which is the new root, becomes the root; the host's goes.
    fn pivot(&self) -> Result<()> {
        let os = |op: &'static str| move |e: Errno| Error::os("rootfs", op, e);
        // The old root is mounted over the new one, then taken away: no directory for it is needed in the image
        // (pivot_root(2), "pivot_root(".", ".")").
        pivot_root(".", ".").map_err(os("pivot_root"))?;
        if self
            .propagation
            .is_some_and(|(flag, _)| flag == libc::MS_SHARED)
        {
            // Or the unmount below would reach the host.
            propagate(".", MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
        }
        umount2(".", MntFlags::MNT_DETACH).map_err(os("umount of the host's root"))
    }
}

/// Parent: what is mounted on the tree from now on stays off the host. A copy made in the parent is a peer of the
/// host's mount; one made by init is none, because its namespace follows the host's only ([`Rootfs::attach`]).
pub fn follow_only(tree: &OwnedFd) -> nix::Result<()> {
    let slave = MountAttr {
        propagation: libc::MS_SLAVE,
        ..MountAttr::default()
    };
    match weakness::is("shared-with-the-host") {
        true => Ok(()),
        false => set_attributes(tree, &slave, true),
    }
}

/// Child of a container that keeps its maker's mount namespace: only the root directory changes.
pub fn change_root(path: &Path) -> Result<()> {
    nix::unistd::chroot(path).map_err(|e| Error::at("rootfs", "chroot", path, e))?;
    chdir("/").map_err(|e| Error::os("rootfs", "chdir", e))
}

pub(crate) fn propagate(path: impl AsRef<Path>, flags: MsFlags) -> Result<()> {
    let path = path.as_ref();
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .map_err(|e| Error::at("rootfs", "change propagation of", path, e))
}

/// A detached overlay.
pub(crate) fn mount_overlay(overlay: &Overlay) -> Result<OwnedFd> {
    let stack = Stack {
        lower: &overlay.lower,
        upper: overlay.upper.as_deref().zip(overlay.work.as_deref()),
        volatile: overlay.volatile,
    };
    pyd_sys::overlay::mount_overlay(&stack).map_err(|refusal| {
        let error = match &refusal.path {
            Some(path) => Error::at("rootfs", refusal.op, path, refusal.errno),
            None => Error::os("rootfs", refusal.op, refusal.errno),
        };
        match (refusal.complaint, refusal.op) {
            (Some(complaint), _) => error.context(complaint),
            (None, "fsopen(overlay)") => {
                error.hint("the kernel needs overlayfs (modprobe overlay)")
            }
            (None, _) => error,
        }
    })
}
