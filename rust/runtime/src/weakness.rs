//! Protections that a test can switch off one by one, to show that it would notice if they were not there.
//!
//! Only in the build of the tests (`--features weakened`, program `pyd-runtime-weakened`). In every other build
//! [`is`] is constantly false and nothing of this is left in the program; tests/security/test_weakened.py looks for it.

use std::fs::{File, create_dir_all};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// Whether the protection `name` is off: `PYD_WEAKENED` lists them, with commas between.
#[cfg(feature = "weakened")]
pub fn is(name: &str) -> bool {
    std::env::var("PYD_WEAKENED").is_ok_and(|names| names.split(',').any(|known| known == name))
}

/// Never, in a build that is shipped.
#[cfg(not(feature = "weakened"))]
#[inline(always)]
pub const fn is(_name: &str) -> bool {
    false
}

/// Pins `path` below `root` by its name, as a runtime does that knows nothing of symbolic links: one that is absolute
/// leads to the host's file. What is missing is made, a directory or a file.
pub fn by_name(root: BorrowedFd<'_>, path: &Path, directory: bool) -> nix::Result<OwnedFd> {
    let errno = |e: io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    let name = format!("/proc/self/fd/{}{}", root.as_raw_fd(), path.display());
    let name = Path::new(&name);
    if directory {
        create_dir_all(name).map_err(errno)?;
    } else if !name.exists() {
        create_dir_all(name.parent().unwrap_or(name)).map_err(errno)?;
        File::create(name).map_err(errno)?;
    }
    open(name, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}
