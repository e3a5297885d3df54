//! How overlayfs stores what a layer removes: Documentation/filesystems/overlayfs.rst "whiteouts and opaque
//! directories". A device node 0:0 hides a name, the attribute `opaque` what the layers below have in a directory.
use std::ffi::CStr;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, SFlag, mknodat};
use pyd_sys::xattr;

use crate::error::Result;
use crate::tree::Place;

const TRUSTED_OPAQUE: &CStr = c"trusted.overlay.opaque";
/// With the mount option `userxattr`, for those who may not set trusted.*.
const USER_OPAQUE: &CStr = c"user.overlay.opaque";

/// Attributes with a meaning to overlayfs. In a layer they are an attack: redirect and metacopy make it read any
/// file that the mounter can.
pub fn is_overlay_attribute(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Those of them that say nothing about what a layer does: where something was copied from, what is in a directory.
/// Not `opaque` and `whiteout`, nor `redirect` and `metacopy`, which cannot be in a layer and must not be lost.
pub fn is_bookkeeping(name: &[u8]) -> bool {
    let note = [&b"trusted.overlay."[..], b"user.overlay."]
        .iter()
        .find_map(|prefix| name.strip_prefix(*prefix));
    note.is_some_and(|note| !matches!(note, b"opaque" | b"whiteout" | b"redirect" | b"metacopy"))
}

pub fn is_whiteout(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits() && stat.st_rdev == 0
}

/// Needs no capability (since Linux 5.8).
pub fn make_whiteout(place: &Place<'_>) -> Result<()> {
    mknodat(&place.parent, place.base, SFlag::S_IFCHR, Mode::empty(), 0)
        .map_err(|errno| place.error("mknod", errno))
}

pub fn make_opaque(place: &Place<'_>) -> Result<()> {
    let path = place.proc_path()?;
    match xattr::lset(&path, TRUSTED_OPAQUE, b"y") {
        Err(Errno::EPERM) => xattr::lset(&path, USER_OPAQUE, b"y"),
        other => other,
    }
    .map_err(|errno| place.error("setxattr", errno))
}

pub fn is_opaque(place: &Place<'_>) -> Result<bool> {
    Ok(is_opaque_at(&place.proc_path()?))
}

/// The same of a directory by a path that follows nothing on its way.
pub fn is_opaque_at(path: &CStr) -> bool {
    [TRUSTED_OPAQUE, USER_OPAQUE]
        .iter()
        .any(|name| xattr::lget(path, name).is_ok_and(|value| value == b"y"))
}
