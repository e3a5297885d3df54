//! Hands the listener of a filter with SCMP_ACT_NOTIFY to the agent that answers for the calls (runtime-spec
//! config-linux.md, "The Container Process State").

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::unistd::Pid;
use pyd_sys::fdpass;
use serde_json::json;

use super::Listener;
use crate::error::{Error, Result};

/// Sends `fd` with the state of the process whose calls it reports; `container` is the container's state, as JSON.
///
/// Until the agent has it, every call that the filter reports stands still: this is to be called at once.
pub fn hand_over(listener: &Listener, fd: &OwnedFd, process: Pid, container: &[u8]) -> Result<()> {
    let container: serde_json::Value = serde_json::from_slice(container)
        .map_err(|e| Error::new("seccomp", format!("the container's state: {e}")))?;
    let mut state = json!({
        "ociVersion": container["ociVersion"],
        "fds": ["seccompFd"],
        "pid": process.as_raw(),
        "state": container,
    });
    if let Some(metadata) = &listener.metadata {
        state["metadata"] = json!(metadata);
    }
    let path = &listener.path;
    let agent = UnixStream::connect(path).map_err(|e| {
        let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        Error::at("seccomp", "connect", path, errno)
            .hint("linux.seccomp.listenerPath must be the socket of a running agent")
    })?;
    fdpass::send(&agent, state.to_string().as_bytes(), fd)
        .map_err(|e| Error::at("seccomp", "send the listener to", path, e))
}
