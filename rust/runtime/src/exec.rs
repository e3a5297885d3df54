//! An additional process in a running container.

use std::os::fd::OwnedFd;

use nix::unistd::Pid;

use crate::error::Result;
use crate::spec::{Process, Spec};

/// A process that was started in a container; a child of the caller.
#[derive(Debug)]
pub struct ExecChild {
    /// Host pid.
    pub pid: Pid,
    /// pidfd.
    pub pidfd: OwnedFd,
    /// Master of the pty, when the process has a terminal.
    pub console: Option<OwnedFd>,
}

/// Starts `process` in the namespaces and (a parameter follows) the cgroup of the container whose init is `target`.
///
/// `spec` is the container's own: its seccomp filter and personality apply to the new process too. Returns after
/// `execve` has succeeded, or gives its error (exit code 126 or 127).
pub fn exec(
    target: Pid,
    spec: &Spec,
    process: &Process,
    stdio: [Option<OwnedFd>; 3],
) -> Result<ExecChild> {
    let _ = (target, spec, process, stdio);
    unimplemented!()
}
