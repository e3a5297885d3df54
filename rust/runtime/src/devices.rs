//! `/dev` of a container: nodes and links (config-linux.md, "Default Devices").

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use pyd_sys::mount::{attach, clone_tree};
use pyd_sys::path::{make_directories, normal, open_without_links};

use crate::error::{Error, Result};
use crate::mounts::refuse_link;
use crate::spec::{LinuxDeviceCgroup, LinuxDeviceType, Spec};
use crate::weakness;

/// Name, major, minor: character devices that every container has, mode 0666.
const DEFAULT: [(&str, u64, u64); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Target and name of the links in `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    path: PathBuf,
    kind: SFlag,
    number: u64,
    mode: Mode,
    owner: Option<(u32, u32)>,
}

/// The nodes of a container.
#[derive(Debug)]
pub struct Devices {
    extra: Vec<Device>,
}

impl Devices {
    /// Checks `linux.devices`.
    pub fn prepare(spec: &Spec) -> Result<Self> {
        let devices = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.devices().as_ref());
        let mut extra = Vec::new();
        for (index, device) in devices.into_iter().flatten().enumerate() {
            let field = format!("linux.devices[{index}]");
            let path = normal(device.path());
            if path.file_name().is_none()
                || !device.path().is_absolute()
                || device.path().to_string_lossy().contains('\0')
            {
                return Err(Error::invalid(format!(
                    "{field}.path: {:?} is not the path of a file",
                    device.path()
                )));
            }
            let kind = match device.typ() {
                LinuxDeviceType::B => SFlag::S_IFBLK,
                LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
                LinuxDeviceType::P => SFlag::S_IFIFO,
                LinuxDeviceType::A => {
                    return Err(Error::invalid(format!("{field}.type: a is for rules only")));
                }
            };
            let number = |name: &str, n: i64| {
                let wrong = || Error::invalid(format!("{field}.{name}: {n} is no device number"));
                u64::try_from(n)
                    .ok()
                    .filter(|n| *n <= 0xffff_ffff)
                    .ok_or_else(wrong)
            };
            let (major, minor) = (
                number("major", device.major())?,
                number("minor", device.minor())?,
            );
            if kind != SFlag::S_IFIFO && major == 0 {
                return Err(Error::invalid(format!(
                    "{field}.major: is missing or 0, which no device has"
                )));
            }
            // Type bits are allowed: it is what stat(2) gives.
            if device.file_mode().is_some_and(|mode| mode > 0o177_777) {
                return Err(Error::invalid(format!(
                    "{field}.fileMode: is no mode of a file"
                )));
            }
            for (name, id) in [("uid", device.uid()), ("gid", device.gid())] {
                if id == Some(u32::MAX) {
                    return Err(Error::invalid(format!(
                        "{field}.{name}: is 4294967295, the largest possible is 4294967294"
                    )));
                }
            }
            let owner = match (device.uid(), device.gid()) {
                (None, None) => None,
                (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
            };
            let mode = Mode::from_bits_truncate(device.file_mode().unwrap_or(0o666) & 0o7777);
            extra.push(Device {
                path,
                kind,
                number: makedev(major, minor),
                mode,
                owner,
            });
        }
        Ok(Self { extra })
    }

    /// Child: makes nodes and links below `root`. Its umask is 0.
    pub fn make(&self, root: BorrowedFd<'_>) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let dev = match open_without_links(root, "/dev", flags) {
            _ if weakness::is("devices-by-name") => {
                weakness::by_name(root, Path::new("/dev"), true)
            }
            Err(Errno::ENOENT) => {
                make_directories(root, Path::new("/dev"), Mode::from_bits_truncate(0o755))
                    .and_then(|_| open_without_links(root, "/dev", flags))
            }
            other => other,
        }
        .map_err(|e| refuse_link(Path::new("/dev"), e))?;
        for (name, major, minor) in DEFAULT {
            // Its own entry says which mode and owner it has.
            if self
                .extra
                .iter()
                .any(|device| device.path == Path::new("/dev").join(name))
            {
                continue;
            }
            let device = Device {
                path: Path::new("/dev").join(name),
                kind: SFlag::S_IFCHR,
                number: makedev(major, minor),
                mode: Mode::from_bits_truncate(0o666),
                owner: None,
            };
            device.make(dev.as_fd())?;
        }
        for device in &self.extra {
            let parent = device.path.parent().unwrap_or(Path::new("/"));
            if parent == Path::new("/dev") {
                device.make(dev.as_fd())?;
                continue;
            }
            let made = match weakness::is("devices-by-name") {
                true => weakness::by_name(root, parent, true),
                false => make_directories(root, parent, Mode::from_bits_truncate(0o755)),
            };
            let directory = made.map_err(|e| Error::at("devices", "mkdir", parent, e))?;
            device.make(directory.as_fd())?;
        }
        for (target, name) in LINKS {
            link(dev.as_fd(), target, name)?;
        }
        Ok(())
    }
}

impl Device {
    fn make(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let failed = |op: &'static str| move |e: Errno| Error::at("devices", op, &self.path, e);
        let name = self
            .path
            .file_name()
            .ok_or_else(|| Error::invalid("linux.devices.path is a directory"))?;
        match mknodat(directory, name, self.kind, self.mode, self.number) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return self.keep(directory),
            // In a user namespace only the host's own node can be used (mknod(2)).
            Err(Errno::EPERM) if self.kind != SFlag::S_IFIFO => return self.bind(directory),
            Err(e) => return Err(failed("mknod")(e)),
        }
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(directory, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
                .map_err(failed("chown"))?;
        }
        Ok(())
    }

    /// A root that is used again has the node already; anything else under its name is refused.
    fn keep(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let name = self.path.file_name().unwrap_or_default();
        let found = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        match found {
            Ok(stat) if self.is(stat.st_mode, stat.st_rdev) => Ok(()),
            _ => Err(Error::at("devices", "mknod", &self.path, Errno::EEXIST)
                .hint("the image has something else under that name")),
        }
    }

    fn is(&self, mode: u32, number: u64) -> bool {
        mode & SFlag::S_IFMT.bits() == self.kind.bits()
            && (self.kind == SFlag::S_IFIFO || number == self.number)
    }

    fn bind(&self, directory: BorrowedFd<'_>) -> Result<()> {
        let failed = |op: &'static str| move |e: Errno| Error::at("devices", op, &self.path, e);
        let name = self.path.file_name().unwrap_or_default();
        let host = open(
            &self.path,
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed("open the host's"))?;
        let stat = fstat(&host).map_err(failed("fstat"))?;
        if !self.is(stat.st_mode, stat.st_rdev) {
            return Err(Error::new(
                "devices",
                format!("{} of the host is another device", self.path.display()),
            ));
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let target: OwnedFd = openat(directory, name, flags, Mode::from_bits_truncate(0o666))
            .map_err(failed("create"))?;
        let tree = clone_tree(host.as_fd(), c"", false).map_err(failed("open_tree"))?;
        attach(&tree, &target).map_err(failed("bind"))
    }
}

fn link(dev: BorrowedFd<'_>, target: &str, name: &str) -> Result<()> {
    match symlinkat(target, dev, name) {
        Err(Errno::EEXIST) if name == "ptmx" => {
            // A node from the image would open terminals of the host's devpts.
            unlinkat(dev, name, UnlinkatFlags::NoRemoveDir)
                .and_then(|()| symlinkat(target, dev, name))
                .map_err(|e| Error::at("devices", "replace", "/dev/ptmx", e))
        }
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(e) => Err(Error::at(
            "devices",
            "symlink",
            Path::new("/dev").join(name),
            e,
        )),
    }
}

/// The rules of the device controller that the nodes above need, after the spec's own (as runc adds them): its usual
/// first rule denies everything.
#[must_use]
pub fn with_default_rules(rules: &[LinuxDeviceCgroup]) -> Vec<LinuxDeviceCgroup> {
    let rule = |kind, major, minor, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(major)
            .set_minor(minor)
            .set_access(Some(access.to_owned()));
        rule
    };
    let mut all = rules.to_vec();
    // Making a node gives no access to it.
    all.push(rule(LinuxDeviceType::C, None, None, "m"));
    all.push(rule(LinuxDeviceType::B, None, None, "m"));
    for (_, major, minor) in DEFAULT {
        all.push(rule(
            LinuxDeviceType::C,
            Some(major as i64),
            Some(minor as i64),
            "rwm",
        ));
    }
    // Slaves of pseudo terminals, and their multiplexer.
    all.push(rule(LinuxDeviceType::C, Some(136), None, "rwm"));
    all.push(rule(LinuxDeviceType::C, Some(5), Some(2), "rwm"));
    all
}

/// The host's `/dev/null`, known to be that: what files are masked with. The container's own could have been
/// replaced by a link to a file that is to stay hidden (CVE-2025-31133).
pub fn host_null() -> Result<OwnedFd> {
    let failed = |op: &'static str| move |e: Errno| Error::at("masks", op, "/dev/null", e);
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let null = open("/dev/null", flags, Mode::empty()).map_err(failed("open"))?;
    let stat = fstat(&null).map_err(failed("fstat"))?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFCHR.bits() || stat.st_rdev != makedev(1, 3)
    {
        return Err(Error::new(
            "masks",
            "/dev/null of the host is not the null device",
        ));
    }
    Ok(null)
}
