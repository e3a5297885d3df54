//! Paths that an image or a container controls, resolved so that no symbolic link, `..` or race leads out of a
//! root directory: `openat2(2)` with `RESOLVE_IN_ROOT`, one descriptor pinned at a time.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

/// Symbolic links followed while missing directories are made, as many as the kernel follows (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Opens `path` as if `root` were `/`. Links of the kernel's own (`/proc/self/fd/N`) are refused with `ELOOP`: they
/// lead anywhere.
pub fn open_in_root<P: NixPath + ?Sized>(
    root: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
) -> nix::Result<OwnedFd> {
    open_how(
        root,
        path,
        flags,
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    )
}

/// The same, and refuses with `ELOOP` when any part of `path` is a symbolic link.
pub fn open_without_links<P: NixPath + ?Sized>(
    root: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
) -> nix::Result<OwnedFd> {
    open_how(
        root,
        path,
        flags,
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
    )
}

/// Opens a path strictly below `dir` on the same mount, through no link: for files of a filesystem such as procfs
/// that somebody could cover with another mount (CVE-2025-52881).
pub fn open_beneath<P: NixPath + ?Sized>(
    dir: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
) -> nix::Result<OwnedFd> {
    open_how(
        dir,
        path,
        flags,
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_SYMLINKS,
    )
}

fn open_how<P: NixPath + ?Sized>(
    dir: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(resolve);
    loop {
        match openat2(dir, path, how) {
            // A rename or mount elsewhere raced with a `..` in the path; the kernel asks to try again.
            Err(Errno::EAGAIN) => continue,
            other => return other,
        }
    }
}

/// Pins the directory `path` below `root`, making what is missing with `mode`. Links inside the root are followed,
/// dangling ones too (their target is made, inside the root).
pub fn make_directories(root: BorrowedFd<'_>, path: &Path, mode: Mode) -> nix::Result<OwnedFd> {
    make_limited(root, path, mode, &mut MAX_LINKS.clone())
}

fn make_limited(
    root: BorrowedFd<'_>,
    path: &Path,
    mode: Mode,
    links: &mut usize,
) -> nix::Result<OwnedFd> {
    let path = normal(path);
    let pin = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match open_in_root(root, &path, pin) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let Some((parent, name)) = split(&path) else {
        return Err(Errno::ENOENT);
    };
    let parent_fd = make_limited(root, parent, mode, links)?;
    match mkdirat(&parent_fd, name, mode) {
        Ok(()) => {
            // Pinned without following: should a link have taken the place meanwhile, this fails.
            openat(
                &parent_fd,
                name,
                pin | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        }
        Err(Errno::EEXIST) => {
            *links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
            match readlinkat(&parent_fd, name) {
                Ok(target) => make_limited(root, &parent.join(target), mode, links),
                // Made by somebody else in the meantime.
                Err(Errno::EINVAL) => open_in_root(root, &path, pin),
                Err(other) => Err(other),
            }
        }
        Err(other) => Err(other),
    }
}

/// Pins the file `path` below `root`, making an empty one (and its directories) when it is missing.
pub fn make_file(root: BorrowedFd<'_>, path: &Path) -> nix::Result<OwnedFd> {
    make_file_limited(root, path, &mut MAX_LINKS.clone())
}

fn make_file_limited(root: BorrowedFd<'_>, path: &Path, links: &mut usize) -> nix::Result<OwnedFd> {
    let path = normal(path);
    match open_in_root(root, &path, OFlag::O_PATH) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let Some((parent, name)) = split(&path) else {
        return Err(Errno::EISDIR);
    };
    let parent_fd = make_limited(root, parent, Mode::from_bits_truncate(0o755), links)?;
    let flags =
        OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
    match openat(&parent_fd, name, flags, Mode::from_bits_truncate(0o644)) {
        Ok(file) => Ok(file),
        Err(Errno::EEXIST) => {
            *links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
            match readlinkat(&parent_fd, name) {
                Ok(target) => make_file_limited(root, &parent.join(target), links),
                Err(Errno::EINVAL) => open_in_root(root, &path, OFlag::O_PATH),
                Err(other) => Err(other),
            }
        }
        Err(other) => Err(other),
    }
}

/// Whether the descriptor refers to a directory.
pub fn is_directory(fd: impl AsFd) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR)
}

/// `/a/../b//c` without its dots, as seen from `/`. Only for paths whose parents need not exist yet; existing ones
/// are left to the kernel.
#[must_use]
pub fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    let name = path.file_name()?;
    debug_assert!(!name.as_bytes().contains(&b'/'));
    Some((path.parent()?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!(
            "pyd-path-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("root/real")).unwrap();
        let fd = nix::fcntl::open(
            &dir.join("root"),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        (dir, fd)
    }

    #[test]
    fn links_stay_in_the_root() {
        let (dir, fd) = root();
        symlink("/outside", dir.join("root/abs")).unwrap();
        symlink("../../outside", dir.join("root/rel")).unwrap();
        for name in ["/abs/made", "/rel/made"] {
            make_directories(fd.as_fd(), Path::new(name), Mode::from_bits_truncate(0o755)).unwrap();
        }
        assert!(
            dir.join("root/outside/made").is_dir(),
            "a dangling link's target is made inside"
        );
        assert!(!dir.join("outside").exists() && !Path::new("/outside").exists());
        make_file(fd.as_fd(), Path::new("/abs/../../x/file")).unwrap();
        assert!(dir.join("root/x/file").is_file());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn loops_end() {
        let (dir, fd) = root();
        symlink("/loop", dir.join("root/loop")).unwrap();
        let made = make_directories(
            fd.as_fd(),
            Path::new("/loop/x"),
            Mode::from_bits_truncate(0o755),
        );
        assert_eq!(made.unwrap_err(), Errno::ELOOP);
        let seen = open_without_links(fd.as_fd(), "/loop", OFlag::O_PATH);
        assert_eq!(seen.unwrap_err(), Errno::ELOOP);
        fs::remove_dir_all(dir).unwrap();
    }
}
