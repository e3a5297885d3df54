//! A child that owns the terminal of its parent.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts `command` in a process group of its own and makes that the foreground group of the terminal at stdin, if
/// there is one, before the program begins: Ctrl-C then reaches the child alone and the child may read.
///
/// The caller has every signal blocked; the child gets an empty mask (`Command` itself passes the mask on).
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // SAFETY: between fork and exec the closure makes system calls only, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            libc::setpgid(0, 0);
            // Without a terminal this fails, which is fine. SIGTTOU, which a background group gets for it, is
            // still blocked.
            libc::tcsetpgrp(0, libc::getpgrp());
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            Ok(())
        });
    }
    command.spawn()
}
