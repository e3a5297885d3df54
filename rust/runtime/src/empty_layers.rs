//! Empty directories below the layers of an overlay that has too few of them.
//!
//! overlayfs wants one lower directory below an upper one, and two where there is no upper one. A plain bind mount
//! would not do for a layer that is alone: its whiteouts would be files. Nor is a tree without any layer a mistake:
//! the first step on an empty base (`FROM scratch`) has one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::spec::Overlay;

/// Adds what is missing: directories `empty-1` and `empty-2` of the bundle, made here or by an earlier start.
pub fn fill_up(overlay: &mut Overlay, bundle: &Path) -> Result<()> {
    let wanted = if overlay.upper.is_some() { 1 } else { 2 };
    for number in overlay.lower.len()..wanted {
        let path = bundle.join(format!("empty-{}", number + 1));
        overlay.lower.push(make(path)?);
    }
    Ok(())
}

fn make(path: PathBuf) -> Result<PathBuf> {
    let failed = |e: std::io::Error| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        Error::at("rootfs", "mkdir", &path, errno)
    };
    match fs::create_dir(&path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let directory = fs::symlink_metadata(&path).map_err(failed)?.is_dir();
            if !directory || fs::read_dir(&path).map_err(failed)?.next().is_some() {
                return Err(Error::at("rootfs", "mkdir", &path, Errno::EEXIST)
                    .hint("the bundle must have nothing of its own there"));
            }
        }
        made => made.map_err(failed)?,
    }
    Ok(path)
}
