//! Owner, mode, attributes and times of one new file, in the order in which the kernel does not undo them: chown
//! clears setuid bits and file capabilities, writing clears capabilities, everything changes the times.
use std::ffi::CString;
use std::fs::File;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};
use pyd_sys::xattr;

use crate::error::{Error, Result, show};
use crate::overlay::is_overlay_attribute;
use crate::rights::Rights;
use crate::tar::Entry;
use crate::tree::Place;

/// Attributes that belong to files, not to a host's security policy or to a file system's bookkeeping.
pub fn is_kept(name: &[u8]) -> bool {
    let of_files = name.starts_with(b"user.")
        || matches!(
            name,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        );
    of_files && !is_overlay_attribute(name)
}

fn time_spec((seconds, nanoseconds): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, nanoseconds.into())
}

fn differs(stat: &FileStat, entry: &Entry) -> bool {
    stat.st_uid != entry.uid || stat.st_gid != entry.gid
}

/// For a regular file, through its descriptor.
pub fn set_on_file(file: &File, place: &Place<'_>, entry: &Entry, rights: Rights) -> Result<()> {
    let error = |op| move |errno| place.error(op, errno);
    let stat = fstat(file).map_err(error("stat"))?;
    let mut mode = stat.st_mode & 0o7777;
    if rights.chown && differs(&stat, entry) {
        fchown(
            file,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
        )
        .map_err(error("chown"))?;
        mode &= 0o777;
    }
    if mode != entry.mode {
        fchmod(file, Mode::from_bits_truncate(entry.mode)).map_err(error("chmod"))?;
    }
    for_each_attribute(entry, place, rights, |name, value| {
        xattr::fset(std::os::fd::AsFd::as_fd(file), name, value)
    })?;
    let time = time_spec(entry.mtime);
    futimens(file, &time, &time).map_err(error("utimens"))
}

/// For anything else that was just made, by its name. `with_mode`: not for symbolic links, which have none.
pub fn set_on_name(
    place: &Place<'_>,
    entry: &Entry,
    mode: Option<u32>,
    rights: Rights,
) -> Result<()> {
    let error = |op| move |errno| place.error(op, errno);
    let Some(stat) = place.stat()? else {
        return Err(place.error("stat", Errno::ENOENT));
    };
    let mut current = stat.st_mode & 0o7777;
    if rights.chown && differs(&stat, entry) {
        fchownat(
            &place.parent,
            place.base,
            Some(Uid::from_raw(entry.uid)),
            Some(Gid::from_raw(entry.gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(error("chown"))?;
        // Not of a directory: a setgid bit that it has from its parent stays.
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFDIR.bits() {
            current &= 0o777;
        }
    }
    if let Some(mode) = mode
        && mode != current
    {
        set_mode(place, mode)?;
    }
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let path = place.proc_path()?;
    for_each_attribute(entry, place, rights, |name, value| {
        xattr::lset(&path, name, value)
    })
}

/// Not for symbolic links: the name is one that was just made or looked at, in a directory that is ours alone.
pub fn set_mode(place: &Place<'_>, mode: u32) -> Result<()> {
    fchmodat(
        &place.parent,
        place.base,
        Mode::from_bits_truncate(mode),
        FchmodatFlags::FollowSymlink,
    )
    .map_err(|errno| place.error("chmod", errno))
}

/// Access time too: it would otherwise tell when the image was pulled.
pub fn set_time(place: &Place<'_>, mtime: (i64, u32)) -> Result<()> {
    let time = time_spec(mtime);
    utimensat(
        &place.parent,
        place.base,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )
    .map_err(|errno| place.error("utimens", errno))
}

fn for_each_attribute(
    entry: &Entry,
    place: &Place<'_>,
    rights: Rights,
    set: impl Fn(&std::ffi::CStr, &[u8]) -> nix::Result<()>,
) -> Result<()> {
    for (name, value) in &entry.xattrs {
        if !is_kept(name) {
            continue;
        }
        let Ok(name) = CString::new(name.as_slice()) else {
            continue; // no attribute has a NUL in its name
        };
        match set(&name, value) {
            // Docker goes on as well when the file system has no attributes, or the caller may not set this one, or
            // this kind of file cannot have it (user.* on a symbolic link).
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(Errno::EPERM) if !rights.admin || name.to_bytes().starts_with(b"user.") => {}
            // The kernel checks capabilities and access lists when they are set.
            Err(Errno::EINVAL | Errno::ERANGE | Errno::E2BIG) => {
                return Err(Error::corrupt(format!(
                    "layer entry {}: its attribute {} is not valid",
                    show(place.path),
                    show(name.to_bytes())
                )));
            }
            Err(errno) => return Err(place.error("setxattr", errno)),
        }
    }
    Ok(())
}
