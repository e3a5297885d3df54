//! A detached overlay: a mount that is attached nowhere, reached through its descriptor, and gone with it. A process
//! that is killed leaves nothing behind.
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;

use crate::mount::{FsContext, clone_tree};

/// What mount(2) reads of its options.
const PAGE: usize = 4096;

/// Directories of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Stack<'a> {
    /// Top first.
    pub lower: &'a [PathBuf],
    /// Upper and work directory; without them the overlay is read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// Do without syncing: the upper directory is worthless after a crash.
    pub volatile: bool,
}

/// Which step failed, on what, and what the kernel had to say.
#[derive(Debug)]
pub struct Refusal {
    /// A step, to be followed by the path.
    pub op: &'static str,
    pub path: Option<PathBuf>,
    pub errno: Errno,
    /// "too many lower directories, limit is 500"
    pub complaint: Option<String>,
}

impl Refusal {
    fn new(op: &'static str, errno: Errno) -> Self {
        Self {
            op,
            path: None,
            errno,
            complaint: None,
        }
    }

    fn at(op: &'static str, path: &Path, errno: Errno) -> Self {
        Self {
            path: Some(path.to_path_buf()),
            ..Self::new(op, errno)
        }
    }
}

/// Whether overlayfs takes layers one by one: Linux 6.5. Asking by trying writes a complaint to an older kernel's log.
/// Where it does not, `mount_overlay` needs a mount namespace that is the caller's own: the mount is attached for a
/// moment.
#[must_use]
pub fn appends_layers() -> bool {
    let Ok(kernel) = nix::sys::utsname::uname() else {
        return false;
    };
    let release = kernel.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    (number(), number()) >= (Some(6), Some(5))
}

/// Makes the mount.
pub fn mount_overlay(stack: &Stack<'_>) -> Result<OwnedFd, Refusal> {
    if !appends_layers() {
        return mount_legacy(stack);
    }
    let context =
        FsContext::open("overlay").map_err(|errno| Refusal::new("fsopen(overlay)", errno))?;
    // Only a name in the mount table.
    let _ = context.set("source", "overlay");
    let set = |key: &str, op: &'static str, path: &Path| {
        let text = path.to_str().ok_or(Errno::EILSEQ);
        text.and_then(|text| context.set(key, text))
            .map_err(|errno| Refusal {
                complaint: context.complaint(),
                ..Refusal::at(op, path, errno)
            })
    };
    for lower in stack.lower {
        set("lowerdir+", "overlay layer", lower)?;
    }
    if let Some((upper, work)) = stack.upper {
        set("upperdir", "overlay upper directory", upper)?;
        set("workdir", "overlay work directory", work)?;
        if stack.volatile {
            // Before 5.10 there is no such option; syncing is only slower.
            let _ = context.flag("volatile");
        }
    }
    context.create().map_err(|errno| Refusal {
        complaint: context.complaint(),
        ..Refusal::at("mount overlay with", place(stack), errno)
    })?;
    context
        .mount(0)
        .map_err(|errno| Refusal::new("fsmount(overlay)", errno))
}

fn place<'a>(stack: &Stack<'a>) -> &'a Path {
    match stack.upper {
        Some((upper, _)) => upper,
        None => stack.lower.first().map_or(Path::new("/"), PathBuf::as_path),
    }
}

/// For kernels before 6.5: mount(2) on a directory of our own namespace, from which a detached copy is taken.
///
/// Its options are one string of at most a page. Descriptors keep each name short and free of ':' and ','.
fn mount_legacy(stack: &Stack<'_>) -> Result<OwnedFd, Refusal> {
    let mut pinned = Vec::with_capacity(stack.lower.len() + 2);
    let mut name = |path: &Path| -> Result<String, Refusal> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .map_err(|errno| Refusal::at("overlay layer", path, errno))?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        pinned.push(fd);
        Ok(name)
    };
    let lower: Result<Vec<String>, Refusal> = stack.lower.iter().map(|path| name(path)).collect();
    let mut data = format!("lowerdir={}", lower?.join(":"));
    if let Some((upper, work)) = stack.upper {
        data.push_str(&format!(
            ",upperdir={},workdir={}",
            name(upper)?,
            name(work)?
        ));
    }
    if data.len() >= PAGE {
        let count = stack.lower.len();
        return Err(Refusal {
            complaint: Some(format!(
                "{count} layers are too many for this kernel: Linux 6.5 and later take 500"
            )),
            ..Refusal::at("mount overlay with", place(stack), Errno::E2BIG)
        });
    }
    let place = match stack.upper {
        Some((_, work)) => work,
        None => place(stack),
    };
    let (kind, none) = (Some("overlay"), MsFlags::empty());
    mount(kind, place, kind, none, Some(data.as_str()))
        .map_err(|errno| Refusal::at("mount overlay on", place, errno))?;
    let path = CString::new(place.as_os_str().as_bytes())
        .map_err(|_| Refusal::at("mount overlay on", place, Errno::EINVAL))?;
    let copy =
        clone_tree(AT_FDCWD, &path, false).map_err(|errno| Refusal::at("open_tree", place, errno));
    umount2(place, MntFlags::MNT_DETACH).map_err(|errno| Refusal::at("umount", place, errno))?;
    copy
}
