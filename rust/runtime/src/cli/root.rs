//! The directory of the state of containers: `--root`, or runc's rules with pyd-runtime's name.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{Error, Result};

/// Absolute path of the directory.
pub fn find(given: Option<&str>) -> Result<PathBuf> {
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
    match (given, xdg) {
        (Some(given), _) => {
            let path = std::path::absolute(given).unwrap_or_default();
            let is_top = path.canonicalize().is_ok_and(|path| path == Path::new("/"));
            if is_top || path.as_os_str().is_empty() {
                return Err(Error::invalid("--root must name a directory other than /"));
            }
            Ok(path)
        }
        (None, Some(base)) if is_user() => {
            let path = Path::new(&base).join("pyd-runtime");
            make_sticky(&path)?;
            Ok(path)
        }
        (None, None) if !nix::unistd::geteuid().is_root() => {
            Err(Error::invalid("XDG_RUNTIME_DIR is not set").hint("give --root"))
        }
        (None, _) => Ok(PathBuf::from("/run/pyd-runtime")),
    }
}

/// A user, or the root of a user's namespace: XDG_RUNTIME_DIR is theirs. Root's own, which sudo may have left from
/// somebody else, is not used.
fn is_user() -> bool {
    if !nix::unistd::geteuid().is_root() {
        return true;
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let in_namespace = !map.split_whitespace().eq(["0", "0", "4294967295"]);
    in_namespace && std::env::var_os("USER").is_none_or(|user| user != "root")
}

/// The XDG specification lets a cleaner remove what has no sticky bit.
fn make_sticky(path: &Path) -> Result<()> {
    let failed = |op: &'static str| {
        move |e: std::io::Error| {
            let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
            Error::at("state", op, path, errno)
                .hint("the path in $XDG_RUNTIME_DIR must be writable by the user")
        }
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(failed("mkdir"))?;
    fs::set_permissions(path, Permissions::from_mode(0o1700)).map_err(failed("chmod"))
}
