//! Readiness of a service in a container (sd_notify(3)): with $NOTIFY_SOCKET set, `create` gives the container a
//! socket of its own, `start` (or `run`) waits for its READY=1 there and passes it on with the pid to watch.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, pipe2};
use pyd_sys::fdpass;

use super::log::Log;
use crate::error::{Error, Result};
use crate::spec::{Mount, Spec};

const VARIABLE: &str = "NOTIFY_SOCKET";
/// Where the container finds its socket.
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
/// How long a service manager may take to say that it has read everything (sd_notify_barrier(3)).
const BARRIER: u16 = 30_000;

/// Makes the directory of the socket in the container's state and shows it inside; nothing without $NOTIFY_SOCKET.
pub fn prepare(state: &Path, spec: &mut Spec) -> Result<()> {
    if host().is_none() {
        return Ok(());
    }
    let directory = state.join("notify");
    // Whoever the service runs as must be able to reach the socket.
    let made = DirBuilder::new().mode(0o755).create(&directory);
    made.map_err(|e| failed("mkdir", &directory, &e))?;
    let mut mount = Mount::default();
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"];
    mount
        .set_destination(INSIDE.into())
        .set_source(Some(directory))
        .set_options(Some(options.map(str::to_owned).to_vec()));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        env.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
        process.set_env(Some(env));
    }
    Ok(())
}

/// Opens the container's socket, before anything in it runs; nothing without $NOTIFY_SOCKET.
pub fn listen(state: &Path) -> Result<Option<Listener>> {
    let directory = state.join("notify");
    let Some(host) = host().filter(|_| directory.is_dir()) else {
        return Ok(None);
    };
    let path = directory.join(SOCKET);
    let socket = UnixDatagram::bind(&path).map_err(|e| failed("bind", &path, &e))?;
    fs::set_permissions(&path, Permissions::from_mode(0o777))
        .map_err(|e| failed("chmod", &path, &e))?;
    Ok(Some(Listener { socket, host }))
}

/// The container's end.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    host: String,
}

impl Listener {
    /// Waits until the container is ready or has ended, and tells the service manager, with `main` as the pid to watch.
    pub fn forward(&self, init: BorrowedFd<'_>, main: Pid, log: &Log) -> Result<()> {
        let Some(ready) = self.ready(init)? else {
            return Ok(());
        };
        let failed = |e: std::io::Error| failed("send to", Path::new(&self.host), &e);
        let manager = self.connect().map_err(failed)?;
        for text in [ready, format!("MAINPID={main}\n")] {
            manager.send(text.as_bytes()).map_err(failed)?;
        }
        barrier(&manager, log)
    }

    /// The READY line of the container.
    fn ready(&self, init: BorrowedFd<'_>) -> Result<Option<String>> {
        let mut buffer = [0u8; 4096];
        loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(init, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.map_err(|e| Error::os("start", "poll", e))?,
            };
            if !fds[0].any().unwrap_or(false) {
                return Ok(None);
            }
            let read = self.socket.recv(&mut buffer);
            let size = read.map_err(|e| failed("read", Path::new(INSIDE), &e))?;
            let text = String::from_utf8_lossy(&buffer[..size]);
            // One line and no more: the rest (FDSTORE=1, MAINPID= ...) would be believed to come from the host.
            if let Some(line) = text.lines().find(|line| line.starts_with("READY=")) {
                return Ok(Some(format!("{line}\n")));
            }
        }
    }

    fn connect(&self) -> std::io::Result<UnixDatagram> {
        let address = match self.host.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&self.host)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(socket)
    }
}

/// After this the manager knows of the pid, so that this process may end.
fn barrier(manager: &UnixDatagram, log: &Log) -> Result<()> {
    let failed = |e: Errno| Error::os("start", "synchronize with $NOTIFY_SOCKET", e);
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
    fdpass::send(manager, b"BARRIER=1", &writer).map_err(failed)?;
    drop(writer);
    let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::from(BARRIER)).map_err(failed)? == 0 {
        log.warn(&["the service manager does not answer BARRIER=1".to_owned()]);
    }
    Ok(())
}

fn host() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|path| !path.is_empty())
}

fn failed(op: &str, path: &Path, error: &std::io::Error) -> Error {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    Error::at("start", op, path, errno).context("$NOTIFY_SOCKET")
}
