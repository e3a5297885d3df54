//! A child that owns the terminal of its parent.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts `command` in a process group of its own and makes that the foreground group of the terminal at stdin, if
/// there is one, before the program begins: Ctrl-C then reaches the child alone and the child may read.
///
/// SIGTTOU must be blocked or ignored in the caller (tcsetpgrp by a background group, `tcsetpgrp(3)`); the child
/// gets an empty signal mask from `Command`.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // SAFETY: between fork and exec the closure makes four system calls, allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| {
            libc::setpgid(0, 0);
            // `Command` has unblocked every signal by now, and the group is a background one until the call below.
            let before = libc::signal(libc::SIGTTOU, libc::SIG_IGN);
            libc::tcsetpgrp(0, libc::getpgrp());
            libc::signal(libc::SIGTTOU, before);
            Ok(())
        });
    }
    command.spawn()
}
