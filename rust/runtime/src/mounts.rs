//! The mounts of the spec, in its order, each attached to a directory or file that is pinned by a descriptor.
//!
//! An image controls the names below the root, and another container may exchange them meanwhile (CVE-2021-30465);
//! so a target is resolved once, inside the root, and never named again.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use pyd_sys::mount::{FsContext, MountAttr, attach, attr, clone_tree, set_attributes};
use pyd_sys::path::{
    is_directory, make_directories, make_file, normal, open_in_root, open_without_links,
};

use crate::cgroup_mount::CgroupView;
use crate::error::{Error, Result};
use crate::layer_mount::{self, LayerMount};
use crate::mount_options::MountOptions;
use crate::procfs::Procfs;
use crate::spec::{self, LinuxIdMapping, Mount, Spec};
use crate::{copy_up, idmap, rootfs, weakness};

/// Where a filesystem is expected by everything that runs in a container. A symbolic link there would send the mount,
/// the device nodes or the masks elsewhere (CVE-2019-19921, CVE-2026-41579).
const NEVER_LINKS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Files of procfs that a user-space emulation (lxcfs) may replace; runc allows the same.
const REPLACEABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// All mounts of a container.
#[derive(Debug)]
pub struct Mounts<'a> {
    entries: Vec<Entry<'a>>,
    /// `linux.mountLabel` for filesystems that are made here.
    label: Option<&'a str>,
}

/// One mount, checked.
#[derive(Debug)]
pub struct Entry<'a> {
    mount: &'a Mount,
    /// Normalised destination.
    pub destination: PathBuf,
    pub options: MountOptions,
    source: Option<PathBuf>,
    /// The tree to attach, where it had to be opened in the parent.
    prepared: Option<OwnedFd>,
    /// What it is made from, if that is layers.
    layers: Option<LayerMount>,
}

impl<'a> Mounts<'a> {
    /// Parent: parses the options and opens the sources that init could not open. `bundle` is absolute.
    pub fn prepare(spec: &'a Spec, bundle: &Path, procfs: &Procfs) -> Result<Self> {
        let own_users = spec::new_namespaces(spec) & libc::CLONE_NEWUSER as u64 != 0;
        let mapped_root = own_users && nix::unistd::geteuid().is_root();
        // Then an engine wants mounts below a shared bind mount to be seen on the host, which a user namespace never does.
        let linux = spec.linux().as_ref();
        let shares = linux
            .and_then(|linux| linux.rootfs_propagation().as_deref())
            .is_some_and(|name| matches!(name, "shared" | "rshared"));
        let mut entries = Vec::new();
        for mount in spec.mounts().iter().flatten() {
            let options = MountOptions::parse(mount.options().as_deref().unwrap_or(&[]))?;
            let source = mount.source().as_ref().map(|source| bundle.join(source));
            let destination = normal(mount.destination());
            let mut entry = Entry {
                mount,
                destination,
                options,
                source,
                prepared: None,
                layers: layers(mount)?,
            };
            let maps = id_maps(spec, &entry)?;
            // Mapped root may not walk to a source, and cannot map ids of a filesystem that is not its own.
            if entry.is_bind() && (maps.is_some() || mapped_root) {
                let tree = entry.open_source(maps.map(|maps| (procfs, maps)))?;
                if own_users || !shares {
                    rootfs::follow_only(&tree)
                        .map_err(|e| Error::at("mounts", "make slave", &entry.destination, e))?;
                }
                entry.prepared = Some(tree);
            } else if maps.is_some() {
                return Err(Error::invalid(format!(
                    "{}: idmap is for bind mounts",
                    entry.destination.display()
                )));
            }
            if let Some(layers) = &mut entry.layers {
                let cannot = format!("cannot mount {}", entry.destination.display());
                let made = layers.complete(bundle);
                made.and_then(|()| {
                    if mapped_root {
                        layers.prepare()
                    } else {
                        Ok(())
                    }
                })
                .map_err(|e| e.context(cannot))?;
            }
            entries.push(entry);
        }
        let label = linux.and_then(|linux| linux.mount_label().as_deref());
        Ok(Self {
            entries,
            label: label.filter(|label| !label.is_empty()),
        })
    }

    /// Whether `/dev` is a directory that exists already, whose nodes are not ours to make.
    #[must_use]
    pub fn binds_dev(&self) -> bool {
        self.entries
            .iter()
            .filter(|entry| entry.is_bind() || entry.layers.is_some())
            .any(|entry| entry.destination == Path::new("/dev"))
    }

    /// Whether a cgroup filesystem is among them.
    #[must_use]
    pub fn want_cgroups(&self) -> bool {
        self.entries.iter().any(Entry::is_cgroup)
    }

    /// Child: attaches all of them below `root`. `cgroups` is called when the first cgroup mount comes.
    pub fn attach(
        &self,
        root: BorrowedFd<'_>,
        cgroups: &mut dyn FnMut() -> Result<CgroupView>,
    ) -> Result<()> {
        for entry in &self.entries {
            let attached = match entry.is_cgroup() {
                true => cgroups().and_then(|view| view.attach(root, entry)),
                false => entry.attach(root, self.label),
            };
            attached.map_err(|mut error| {
                error.stage = "mounts".to_owned();
                error.context(format!("cannot mount {}", entry.destination.display()))
            })?;
        }
        Ok(())
    }
}

impl Entry<'_> {
    fn kind(&self) -> &str {
        self.mount.typ().as_deref().unwrap_or("none")
    }

    fn is_bind(&self) -> bool {
        self.options.bind.is_some() || self.kind() == "bind"
    }

    fn is_cgroup(&self) -> bool {
        !self.is_bind() && matches!(self.kind(), "cgroup" | "cgroup2")
    }

    fn attach(&self, root: BorrowedFd<'_>, label: Option<&str>) -> Result<()> {
        if self.options.remount {
            return self.remount(root);
        }
        let mount = if let Some(layers) = &self.layers {
            self.attach_tree(root, layers.tree(root)?)?
        } else if self.is_bind() {
            self.attach_tree(root, self.bound()?)?
        } else {
            self.attach_filesystem(root, label)?
        };
        if self.options.recursive != MountAttr::default() {
            set_attributes(&mount, &self.options.recursive, true)
                .map_err(|e| Error::os("mounts", "mount_setattr (recursive)", e))?;
        }
        for (propagation, recursive) in &self.options.propagation {
            let change = MountAttr {
                propagation: *propagation,
                ..MountAttr::default()
            };
            set_attributes(&mount, &change, *recursive)
                .map_err(|e| Error::os("mounts", "set propagation", e))?;
        }
        Ok(())
    }

    /// The tree of a bind mount.
    fn bound(&self) -> Result<OwnedFd> {
        match &self.prepared {
            Some(tree) => tree
                .try_clone()
                .map_err(|_| Error::os("mounts", "dup", Errno::EMFILE)),
            None => self.open_source(None),
        }
    }

    fn attach_tree(&self, root: BorrowedFd<'_>, tree: OwnedFd) -> Result<OwnedFd> {
        let directory = is_directory(&tree).map_err(|e| Error::os("mounts", "fstat", e))?;
        if self.destination == Path::new("/proc") && !is_procfs(tree.as_fd())? {
            self.refuse_on_proc()?;
        }
        let attributes = &self.options.attributes;
        if attributes.set | attributes.clear != 0 {
            match set_attributes(&tree, attributes, false) {
                // A flag that the host's mount has may be locked (mount_namespaces(7)): it then stays, which is
                // stricter than asked and never looser.
                Err(Errno::EPERM) if attributes.clear != 0 => {
                    let set_only = MountAttr {
                        clear: attributes.clear & attr::ATIME_MASK,
                        ..*attributes
                    };
                    set_attributes(&tree, &set_only, false)
                }
                other => other,
            }
            .map_err(|e| Error::os("mounts", "mount_setattr", e))?;
        }
        let target = self.target(root, directory)?;
        attach(&tree, &target).map_err(|e| Error::os("mounts", "move_mount", e))?;
        Ok(tree)
    }

    fn attach_filesystem(&self, root: BorrowedFd<'_>, label: Option<&str>) -> Result<OwnedFd> {
        if self.destination == Path::new("/proc") && self.kind() != "proc" {
            self.refuse_on_proc()?;
        }
        let target = self.target(root, true)?;
        let mount = match FsContext::open(self.kind()) {
            Ok(context) => self.filesystem(&context, &target, label)?,
            Err(Errno::EPERM) if self.kind() == "sysfs" => self.host_sysfs()?,
            Err(e) => {
                let error = Error::os("mounts", "fsopen", e).context(self.kind());
                return Err(match e {
                    Errno::ENODEV => error.hint("this kernel does not have that filesystem"),
                    _ => error,
                });
            }
        };
        if self.options.copy_up {
            copy_up::copy(target.as_fd(), mount.as_fd())?;
        }
        attach(&mount, &target).map_err(|e| Error::os("mounts", "move_mount", e))?;
        Ok(mount)
    }

    /// What lies there decides what the container's programs believe of the kernel, and whether masks hide anything.
    fn refuse_on_proc(&self) -> Result<()> {
        if weakness::is("anything-on-proc") {
            return Ok(());
        }
        Err(
            Error::new("mounts", "only a procfs can be mounted on /proc")
                .hint("give the mount another destination"),
        )
    }

    /// The detached mount of a filesystem that is made here; `target` is what it will cover.
    fn filesystem(
        &self,
        context: &FsContext,
        target: &OwnedFd,
        label: Option<&str>,
    ) -> Result<OwnedFd> {
        let explain = |op: &str, e: Errno| {
            let error = Error::os("mounts", op, e);
            match context.complaint() {
                Some(complaint) => error.context(complaint),
                None => error,
            }
        };
        if let Some(source) = self.mount.source() {
            // Only a name in the mount table, but for filesystems on a device.
            let _ = context.set("source", &source.to_string_lossy());
            if source.is_absolute() && self.options.attributes.set & attr::RDONLY != 0 {
                context.flag("ro").map_err(|e| explain("ro", e))?;
            }
        }
        for (key, value) in &self.options.data {
            let set = match value {
                Some(value) => context.set(key, value),
                None => context.flag(key),
            };
            set.map_err(|e| explain(&format!("mount option \"{key}\""), e))?;
        }
        if self.kind() == "tmpfs" && !self.options.data.iter().any(|(key, _)| key == "mode") {
            // A tmpfs takes the place of a directory: /tmp stays 1777.
            let mode = fstat(target).map_err(|e| explain("fstat", e))?.st_mode & 0o7777;
            let mode = format!("{mode:o}");
            context.set("mode", &mode).map_err(|e| explain("mode", e))?;
        }
        let labelled = matches!(self.kind(), "tmpfs" | "devpts" | "mqueue" | "sysfs");
        if let Some(label) = label.filter(|_| labelled) {
            context
                .set("context", label)
                .map_err(|e| explain("mountLabel", e))?;
        }
        match context.create() {
            Ok(()) => {}
            Err(Errno::EPERM) if self.kind() == "sysfs" => return self.host_sysfs(),
            Err(e) => return Err(explain("mount", e)),
        }
        let mount = context.mount(self.options.attributes.set);
        mount.map_err(|e| explain("mount", e))
    }

    /// sysfs shows a network namespace and only its owner may mount it: a user namespace that shares the host's network
    /// gets the host's sysfs, with the attributes asked for.
    fn host_sysfs(&self) -> Result<OwnedFd> {
        let tree = clone_tree(AT_FDCWD, c"/sys", true)
            .map_err(|e| Error::at("mounts", "open_tree", "/sys", e))?;
        let set = MountAttr {
            set: self.options.attributes.set,
            ..MountAttr::default()
        };
        set_attributes(&tree, &set, true).map_err(|e| Error::os("mounts", "mount_setattr", e))?;
        Ok(tree)
    }

    fn remount(&self, root: BorrowedFd<'_>) -> Result<()> {
        let target = open_in_root(root, &self.destination, OFlag::O_PATH)
            .map_err(|e| Error::at("mounts", "open", &self.destination, e))?;
        set_attributes(&target, &self.options.attributes, false)
            .map_err(|e| Error::os("mounts", "remount (mount_setattr)", e))
    }

    /// What the source names now. A part of it that a container controls is resolved inside the rest: in a volume that
    /// two containers share, one of them can put a link to the host in the place of a directory (CVE-2021-25741).
    fn clone_source(&self, source: &Path) -> nix::Result<OwnedFd> {
        let recursive = self.options.bind.unwrap_or(true);
        let by_name = |path: &Path| {
            let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
            clone_tree(AT_FDCWD, &path, recursive)
        };
        match &self.options.subpath {
            None => by_name(source),
            Some(below) if weakness::is("subpath-by-name") => by_name(&source.join(below)),
            Some(below) => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let volume = open(source, flags, Mode::empty())?;
                let pinned = open_in_root(volume.as_fd(), below.as_str(), OFlag::O_PATH)?;
                clone_tree(pinned.as_fd(), c"", recursive)
            }
        }
    }

    /// The tree to bind, id-mapped when `maps` are given.
    fn open_source(&self, maps: Option<(&Procfs, IdMaps<'_>)>) -> Result<OwnedFd> {
        let source = self
            .source
            .as_ref()
            .ok_or_else(|| Error::invalid("a bind mount without a source"))?;
        let tree = self.clone_source(source).map_err(|e| {
            let error = Error::at("mounts", "open_tree", source, e);
            match e {
                Errno::ENOENT => Error {
                    message: format!("bind source path does not exist: {}", source.display()),
                    ..error
                },
                Errno::EINVAL => {
                    error.hint("the source is unbindable, or lies in another mount namespace")
                }
                _ => error,
            }
        })?;
        if let Some((procfs, (uids, gids))) = maps {
            let namespace = idmap::namespace(procfs, uids, gids)?;
            let number = std::os::fd::AsRawFd::as_raw_fd(&namespace) as u64;
            let change = MountAttr {
                set: attr::IDMAP,
                userns: number,
                ..MountAttr::default()
            };
            set_attributes(&tree, &change, self.options.idmap == Some(true)).map_err(|e| {
                Error::at("mounts", "idmap", source, e)
                    .hint("not every filesystem can be id-mapped")
            })?;
        }
        Ok(tree)
    }

    /// Pins the destination below `root`, making what is missing.
    pub fn target(&self, root: BorrowedFd<'_>, directory: bool) -> Result<OwnedFd> {
        let path = &self.destination;
        let failed = |op: &'static str| move |e: Errno| Error::at("mounts", op, path, e);
        if path == Path::new("/") {
            return Err(Error::invalid("a mount on / would hide the root"));
        }
        let exact = NEVER_LINKS.iter().any(|name| path == Path::new(name))
            || matches!(self.kind(), "proc" | "sysfs");
        let exact = exact && !weakness::is("links-at-proc");
        let mode = Mode::from_bits_truncate(0o755);
        let target = if weakness::is("targets-by-name") {
            weakness::by_name(root, path, directory).map_err(failed("open"))?
        } else if exact {
            let pin = || open_without_links(root, path, OFlag::O_PATH);
            match pin() {
                Err(Errno::ENOENT) => make_directories(root, path, mode).and_then(|_| pin()),
                other => other,
            }
            .map_err(|e| refuse_link(path, e))?
        } else if directory {
            make_directories(root, path, mode).map_err(failed("mkdir"))?
        } else {
            make_file(root, path).map_err(failed("create"))?
        };
        if is_directory(&target).map_err(failed("fstat"))? != directory {
            let (have, want) = if directory {
                ("a file", "a directory")
            } else {
                ("a directory", "a file")
            };
            return Err(Error::at("mounts", "mount", path, Errno::ENOTDIR)
                .context(format!("the destination is {have} and the source {want}")));
        }
        let replaceable =
            REPLACEABLE.iter().any(|name| path == Path::new(name)) || path.starts_with("/proc/net");
        if is_procfs(target.as_fd())?
            && !replaceable
            && !matches!(self.kind(), "proc")
            && !weakness::is("anything-on-proc")
        {
            // Masks and security labels are written there: what covers procfs covers them (CVE-2019-16884).
            return Err(
                Error::new("mounts", format!("{} lies inside /proc", path.display()))
                    .hint("give the mount another destination"),
            );
        }
        Ok(target)
    }
}

/// The error for a symbolic link where none may be.
pub fn refuse_link(path: &Path, errno: Errno) -> Error {
    let error = Error::at("mounts", "open", path, errno);
    match errno {
        Errno::ELOOP => Error {
            message: format!(
                "{} is a symbolic link in the image, which could lead outside of it",
                path.display()
            ),
            ..error
        }
        .hint("build the image with a directory there"),
        _ => error,
    }
}

fn is_procfs(fd: BorrowedFd<'_>) -> Result<bool> {
    let kind = fstatfs(fd).map_err(|e| Error::os("mounts", "fstatfs", e))?;
    Ok(kind.filesystem_type() == PROC_SUPER_MAGIC)
}

fn layers(mount: &Mount) -> Result<Option<LayerMount>> {
    if mount.typ().as_deref() != Some(layer_mount::KIND) {
        return Ok(None);
    }
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    LayerMount::parse(&source.to_string_lossy()).map(Some)
}

type IdMaps<'a> = (&'a [LinuxIdMapping], &'a [LinuxIdMapping]);

/// The maps of an id-mapped mount: its own, else the container's.
fn id_maps<'a>(spec: &'a Spec, entry: &Entry<'a>) -> Result<Option<IdMaps<'a>>> {
    let own = (
        entry.mount.uid_mappings().as_deref(),
        entry.mount.gid_mappings().as_deref(),
    );
    if let (Some(uids), Some(gids)) = own {
        return Ok(Some((uids, gids)));
    }
    if own.0.is_some() || own.1.is_some() {
        return Err(Error::invalid(
            "uidMappings and gidMappings of a mount go together",
        ));
    }
    if entry.options.idmap.is_none() {
        return Ok(None);
    }
    let linux = spec.linux().as_ref();
    let uids = linux.and_then(|linux| linux.uid_mappings().as_deref());
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref());
    match (uids, gids) {
        (Some(uids), Some(gids)) => Ok(Some((uids, gids))),
        _ => Err(Error::invalid(
            "mount option idmap needs uidMappings and gidMappings",
        )),
    }
}
