//! Hooks (config.md, "POSIX-platform Hooks"): programs that the spec's author runs around a container's life.
//!
//! A hook gets the environment of its own entry and nothing else: neither the caller's nor, above all, the
//! container's, whose LD_PRELOAD would run the image's code as the host's root (CVE-2025-23266).

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::Pid;
use serde_json::json;

use crate::error::{Error, Result};
use crate::spec::{Hook, Spec};
use crate::weakness;

/// Bytes of a failed hook's stderr that are quoted.
const QUOTE: u64 = 512;

/// The container's state as hooks get it on stdin (runtime.md, "State").
#[must_use]
pub fn state(spec: &Spec, id: &str, status: &str, pid: Option<Pid>, bundle: &Path) -> Vec<u8> {
    let mut state =
        json!({ "ociVersion": spec.version(), "id": id, "status": status, "bundle": bundle });
    if let Some(pid) = pid {
        state["pid"] = pid.as_raw().into();
    }
    if let Some(annotations) = spec.annotations() {
        state["annotations"] = json!(annotations);
    }
    state.to_string().into_bytes()
}

/// Whether there are hooks that the maker runs before init goes on.
#[must_use]
pub fn run_before_start(spec: &Spec) -> bool {
    spec.hooks().as_ref().is_some_and(|all| {
        // Deprecated by the spec; engines still send them.
        #[allow(deprecated)]
        [all.prestart(), all.create_runtime()]
            .into_iter()
            .flatten()
            .any(|hooks| !hooks.is_empty())
    })
}

/// Runs the hooks one after the other; the first that fails ends it.
pub fn run(name: &str, hooks: Option<&[Hook]>, state: &[u8]) -> Result<()> {
    for hook in hooks.unwrap_or(&[]) {
        run_one(hook, state)
            .map_err(|e| e.context(format!("{name} hook {}", hook.path().display())))?;
    }
    Ok(())
}

/// Runs all of the hooks, whatever the others did, and gives what failed: poststart and poststop hooks are past the
/// point at which an error could undo anything (runtime.md of spec 1.2, "Lifecycle").
#[must_use]
pub fn run_all(name: &str, hooks: Option<&[Hook]>, state: &[u8]) -> Vec<String> {
    let each = hooks.unwrap_or(&[]).chunks(1);
    each.filter_map(|hook| run(name, Some(hook), state).err())
        .map(|error| error.to_string())
        .collect()
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<()> {
    if !hook.path().is_absolute() {
        return Err(Error::invalid("the path is not absolute"));
    }
    let mut command = Command::new(hook.path());
    let mut args = hook.args().iter().flatten();
    if let Some(first) = args.next() {
        command.arg0(first);
    }
    command.args(args);
    if !weakness::is("hook-environment") {
        command.env_clear();
    }
    command
        .stdin(Stdio::from(in_memory(state)?))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for entry in hook.env().iter().flatten() {
        if let Some((name, value)) = entry.split_once('=') {
            command.env(name, value);
        }
    }
    // A monitor and `run` read signals from a descriptor: with their mask, no SIGTERM would ever reach the hook.
    pyd_sys::process::reset_signals_in(&mut command);
    let mut child = command.spawn().map_err(|e| {
        Error::os(
            "hooks",
            "execve",
            Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
        )
    })?;
    let finished = wait(&mut child, hook.timeout());
    let status = finished.and_then(|()| {
        child
            .wait()
            .map_err(|_| Error::os("hooks", "waitpid", Errno::ECHILD))
    })?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(QUOTE).read_to_string(&mut said);
    }
    let said = said.lines().next().unwrap_or("").trim().to_owned();
    Err(Error::new(
        "hooks",
        if said.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {said}")
        },
    ))
}

/// The state as a file: a pipe would raise SIGPIPE here when a hook does not read it.
fn in_memory(state: &[u8]) -> Result<File> {
    let failed = |op: &'static str| move |e: Errno| Error::os("hooks", op, e);
    let memory = memfd_create(c"state", MFdFlags::MFD_CLOEXEC).map_err(failed("memfd_create"))?;
    let mut file = File::from(memory);
    file.write_all(state)
        .and_then(|()| file.rewind())
        .map_err(|e| failed("write")(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))?;
    Ok(file)
}

/// Waits for the end of the hook, at most its timeout in seconds.
fn wait(child: &mut Child, timeout: Option<i64>) -> Result<()> {
    let Some(seconds) = timeout.filter(|seconds| *seconds > 0) else {
        return Ok(());
    };
    let deadline = Instant::now() + Duration::from_secs(seconds as u64);
    let pid = Pid::from_raw(child.id() as i32);
    let pidfd = pyd_sys::pidfd::open(pid).map_err(|e| Error::os("hooks", "pidfd_open", e))?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::new(
                "hooks",
                format!("still running after its timeout of {seconds} s"),
            ));
        }
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(
            std::os::fd::AsFd::as_fd(&pidfd),
            PollFlags::POLLIN,
        )];
        match poll(&mut fds, wait) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(Error::os("hooks", "poll", e)),
        }
    }
}
