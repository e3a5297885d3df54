//! Descriptors of the caller that a process in a container inherits: those of systemd's socket activation
//! (sd_listen_fds(3)) and those of `--preserve-fds`, in this order, from 3 on.

use std::fs;

use super::args::Args;
use crate::error::{Error, Result};

/// More than any process may have open.
const MOST: u32 = 1 << 20;

/// Number of descriptors, and the variables that tell the process about them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    pub count: u32,
    pub environment: Vec<String>,
}

/// What a new container inherits.
pub fn of_container(args: &Args) -> Result<Inherited> {
    let listen = listen_fds(
        std::env::var("LISTEN_PID").ok().as_deref(),
        std::env::var("LISTEN_FDS").ok().as_deref(),
        std::process::id(),
    );
    let environment = match listen {
        0 => Vec::new(),
        // The container's first process is the one that shall take them.
        n => vec![format!("LISTEN_FDS={n}"), "LISTEN_PID=1".to_owned()],
    };
    let count = listen.saturating_add(preserved(args)?);
    check(count)?;
    Ok(Inherited { count, environment })
}

/// What an additional process inherits: no sockets, which are its container's.
pub fn of_exec(args: &Args) -> Result<u32> {
    let count = preserved(args)?;
    check(count)?;
    Ok(count)
}

fn preserved(args: &Args) -> Result<u32> {
    Ok(args.number("preserve-fds")?.unwrap_or(0))
}

/// How many descriptors systemd has passed to this very process.
fn listen_fds(pid: Option<&str>, fds: Option<&str>, own: u32) -> u32 {
    let meant = pid.and_then(|pid| pid.parse().ok()) == Some(own);
    let count = fds.and_then(|fds| fds.parse().ok()).unwrap_or(0);
    if meant { count } else { 0 }
}

/// Each of them must be the caller's. A number that the caller did not open could be one of this program's own by now;
/// those are all close-on-exec, which an inherited one cannot be.
fn check(count: u32) -> Result<()> {
    let missing = |fd: u32| {
        Err(Error::invalid(format!(
            "--preserve-fds: descriptor {fd} is not open"
        )))
    };
    if count >= MOST {
        return Err(Error::invalid("--preserve-fds is too large"));
    }
    for fd in 3..3 + count {
        match close_on_exec(fd) {
            Some(false) => {}
            _ => return missing(fd),
        }
    }
    Ok(())
}

/// Whether an open descriptor ends with an execve (proc_pid_fdinfo(5)).
fn close_on_exec(fd: u32) -> Option<bool> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
    Some(flags & libc::O_CLOEXEC != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_another_process_are_not_ours() {
        assert_eq!(listen_fds(Some("7"), Some("2"), 7), 2);
        assert_eq!(listen_fds(Some("8"), Some("2"), 7), 0);
        assert_eq!(listen_fds(None, Some("2"), 7), 0);
        assert_eq!(listen_fds(Some("7"), Some("-2"), 7), 0);
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_named() {
        let error = check(1 << 19).unwrap_err();
        assert!(error.message.contains("is not open"), "{error}");
    }
}
