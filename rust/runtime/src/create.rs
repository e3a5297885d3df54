//! Makes a container up to the point where only its start is missing.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::unistd::Pid;

use crate::error::Result;
use crate::spec::Spec;

/// Called in the parent when the namespaces of the container exist and before anything in it runs: the place to
/// give it a network. The argument is the host pid of the container's init.
pub type OnNamespaces<'a> = &'a mut dyn FnMut(Pid) -> Result<()>;

/// What a container is made from.
pub struct CreateOptions<'a> {
    /// Name for hooks and messages.
    pub id: String,
    /// Directory of `config.json`; relative paths of the spec are meant from here.
    pub bundle: PathBuf,
    /// The container's description.
    pub spec: &'a Spec,
    /// stdin, stdout, stderr of the first process; `None` inherits the caller's. Ignored with a terminal.
    pub stdio: [Option<OwnedFd>; 3],
    /// Connected AF_UNIX socket that gets the pty's master (`--console-socket`); without it `Created::console` has it.
    pub console_socket: Option<OwnedFd>,
    /// Descriptors 3..3+n of the caller that the container inherits.
    pub preserve_fds: u32,
    /// FIFO in the state directory on which init waits, when another process will start it; `None`: this one will.
    pub start_fifo: Option<PathBuf>,
    /// SIGKILL for init when the creating process dies.
    pub die_with_parent: bool,
    /// See [`OnNamespaces`].
    pub on_namespaces: Option<OnNamespaces<'a>>,
}

impl fmt::Debug for CreateOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateOptions").field("id", &self.id).field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

/// A container whose init waits to be started.
#[derive(Debug)]
pub struct Created {
    /// Host pid of init, a child of the caller.
    pub pid: Pid,
    /// pidfd of init.
    pub pidfd: OwnedFd,
    /// Master of the pty, when the spec asks for a terminal and no console socket was given.
    pub console: Option<OwnedFd>,
    /// What could not be had and was left out, one sentence each.
    pub warnings: Vec<String>,
}

/// Makes cgroup, namespaces, root filesystem and everything else of the container; its init then waits.
///
/// The caller must be single-threaded. On an error nothing is left: no process, no cgroup, no mount.
pub fn create(options: CreateOptions<'_>) -> Result<Created> {
    let _ = options;
    unimplemented!()
}

impl Created {
    /// Lets init go on; returns when `execve` has succeeded, or gives the error of the exec.
    pub fn start(&mut self) -> Result<()> {
        unimplemented!()
    }

    /// Kills and reaps an init that was not started, and removes the cgroup.
    pub fn destroy(self) -> Result<()> {
        unimplemented!()
    }
}
