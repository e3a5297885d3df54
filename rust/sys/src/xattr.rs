//! Extended attributes, xattr(7). Sizes are bounded by the kernel (64 KiB a value, 64 KiB of names).
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

fn checked(result: libc::ssize_t) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| Errno::last())
}

/// fsetxattr(2): create or replace.
pub fn fset(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: `name` is NUL-terminated and `value` is readable for `value.len()` bytes during the call.
    let result = unsafe {
        libc::fsetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// lsetxattr(2): like `fset`, on the object that `path` names, without following a symlink in its last component.
pub fn lset(path: &CStr, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated and `value` is readable for `value.len()` bytes during the call.
    let result = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// lgetxattr(2): the whole value, without following a symlink in the last component of `path`.
pub fn lget(path: &CStr, name: &CStr) -> Result<Vec<u8>, Errno> {
    read_growing(|buffer| {
        // SAFETY: both strings are NUL-terminated; `buffer` is writable for `buffer.len()` bytes during the call.
        checked(unsafe {
            libc::lgetxattr(
                path.as_ptr(),
                name.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        })
    })
}

/// lremovexattr(2), without following a symlink in the last component of `path`.
pub fn lremove(path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings are NUL-terminated and live during the call.
    let result = unsafe { libc::lremovexattr(path.as_ptr(), name.as_ptr()) };
    Errno::result(result).map(drop)
}

/// flistxattr(2): the names, without their NULs.
pub fn flist(fd: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let names = read_growing(|buffer| {
        // SAFETY: `buffer` is writable for `buffer.len()` bytes during the call.
        checked(unsafe {
            libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len())
        })
    })?;
    Ok(split_names(&names))
}

/// llistxattr(2): like `flist`, without following a symlink in the last component of `path`.
pub fn llist(path: &CStr) -> Result<Vec<Vec<u8>>, Errno> {
    let names = read_growing(|buffer| {
        // SAFETY: `path` is NUL-terminated; `buffer` is writable for `buffer.len()` bytes during the call.
        checked(unsafe {
            libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len())
        })
    })?;
    Ok(split_names(&names))
}

/// listxattr(2): like `llist`, of what `path` leads to. On `/proc/self/fd/N` that is the very object that the
/// descriptor pins (O_PATH too), a symlink among others.
pub fn list(path: &CStr) -> Result<Vec<Vec<u8>>, Errno> {
    let names = read_growing(|buffer| {
        // SAFETY: `path` is NUL-terminated; `buffer` is writable for `buffer.len()` bytes during the call.
        checked(unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
    })?;
    Ok(split_names(&names))
}

/// getxattr(2): the whole value, of what `path` leads to (see `list`).
pub fn get(path: &CStr, name: &CStr) -> Result<Vec<u8>, Errno> {
    read_growing(|buffer| {
        // SAFETY: both strings are NUL-terminated; `buffer` is writable for `buffer.len()` bytes during the call.
        checked(unsafe {
            libc::getxattr(
                path.as_ptr(),
                name.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        })
    })
}

fn split_names(names: &[u8]) -> Vec<Vec<u8>> {
    names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// ERANGE says that the buffer is too small; 64 KiB is the largest that the kernel returns.
fn read_growing(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) if buffer.len() < 65536 => buffer.resize(65536, 0),
            Err(errno) => return Err(errno),
        }
    }
}
