//! The container's run-root directory: its lock, which is the monitor's sign of life, and its socket.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::config::io_error;
use crate::error::{Error, Result};

/// Held as long as the monitor lives: whoever gets this lock knows that there is none, whatever pids say.
pub const LOCK: &str = "shim.lock";
/// Who only wants to know whether a monitor lives takes the lock for a moment, too; a start waits that long.
const PROBE: Duration = Duration::from_millis(200);
/// The control socket.
pub const SOCKET: &str = "shim.sock";

/// The open directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    dir: File,
}

impl RunDir {
    pub fn open(path: &Path) -> Result<RunDir> {
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(path)
            .map_err(|error| io_error("config", "open", path, &error))?;
        Ok(RunDir {
            path: path.to_owned(),
            dir,
        })
    }

    /// Takes the lock or says that another monitor has it.
    pub fn lock(&self) -> Result<Flock<File>> {
        let path = self.path.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| io_error("lock", "open", &path, &error))?;
        let deadline = Instant::now() + PROBE;
        let mut file = file;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Error::new("lock", "container is already running"));
                }
                Err((_, errno)) => return Err(Error::at("lock", "flock", &path, errno)),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Listens on the socket, for the owner alone. Reached through the descriptor: a path of `sockaddr_un` has room
    /// for 107 bytes only, and an abstract name would be reachable from containers on the host's network
    /// (CVE-2020-15257).
    pub fn listen(&self) -> Result<UnixListener> {
        // A monitor that was killed leaves its socket; with the lock in hand nobody else can own it.
        self.unlink_socket();
        let failed =
            |error: std::io::Error| io_error("socket", "bind", &self.path.join(SOCKET), &error);
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(format!("/proc/self/fd/{}/{SOCKET}", self.dir.as_raw_fd()));
        umask(before);
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(listener)
    }

    /// Removes the socket; none is no error.
    pub fn unlink_socket(&self) {
        let _ = unlinkat(&self.dir, SOCKET, UnlinkatFlags::NoRemoveDir);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn one_lock_one_socket_any_length_of_path() {
        let top = std::env::temp_dir().join(format!("pyd-rundir-{}", std::process::id()));
        let path = top.join("x".repeat(200));
        fs::create_dir_all(&path).unwrap();
        let run = RunDir::open(&path).unwrap();
        let lock = run.lock().unwrap();
        assert_eq!(
            RunDir::open(&path).unwrap().lock().unwrap_err().message,
            "container is already running"
        );
        fs::write(path.join(SOCKET), "stale").unwrap();
        let _listener = run.listen().unwrap();
        let mode = fs::metadata(path.join(SOCKET))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", run.dir.as_raw_fd())).unwrap();
        run.unlink_socket();
        run.unlink_socket();
        drop(lock);
        run.lock().unwrap();
        fs::remove_dir_all(&top).unwrap();
    }
}
