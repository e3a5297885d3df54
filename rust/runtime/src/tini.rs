//! `pyd-runtime init -- COMMAND`: pid 1 of a container started with `--init`. Starts the command, passes signals on,
//! reaps every orphan, and ends with the command's code.
//!
//! A program that is pid 1 itself gets no default action for signals and has to reap what others leave behind
//! (pid_namespaces(7)); most programs do neither.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// Exit codes of a shell for a command that cannot be run or found.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const USAGE: u8 = 125;

/// Runs the command after `--`; gives the exit code for pid 1.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let mut command: Vec<OsString> = arguments.into_iter().collect();
    if command.first().is_some_and(|first| first == "--") {
        command.remove(0);
    }
    let Some((program, arguments)) = command.split_first() else {
        eprintln!(
            "pyd-runtime init: no command given (usage: pyd-runtime init -- COMMAND [ARGUMENT...])"
        );
        return USAGE;
    };
    match run(program, arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pyd-runtime init: exec: {program:?}: {error}");
            match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            }
        }
    }
}

fn run(program: &OsString, arguments: &[OsString]) -> io::Result<u8> {
    // All of them, SIGTTIN and SIGTTOU included: the terminal is the command's, and init must not stop for it.
    let mut all = SigSet::all();
    // A fault of init itself is not a message for the command.
    for fault in [
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGABRT,
        Signal::SIGTRAP,
        Signal::SIGSYS,
    ] {
        all.remove(fault);
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
    let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC)?;
    // Without a pid namespace of its own (`--pid host`) orphans come to us only this way.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let child = pyd_sys::foreground::spawn(Command::new(program).args(arguments))?;
    let child = Pid::from_raw(child.id() as i32);
    loop {
        while let Some((pid, status)) = pyd_sys::reap::any()? {
            if pid == child {
                return Ok(code(status));
            }
        }
        if let Some(signal) = signals.read_signal()?
            && signal.ssi_signo != libc::SIGCHLD as u32
        {
            // The command may have ended in this moment; its end is read next.
            let _ = pyd_sys::reap::signal_child(child, signal.ssi_signo as i32);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .signal()
        .map_or_else(|| status.code().unwrap_or(0), |signal| 128 + signal);
    code as u8
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn codes_are_a_shell_s() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(code(ExitStatus::from_raw(34)), 162);
    }

    #[test]
    fn without_a_command_it_says_so() {
        assert_eq!(main([]), USAGE);
        assert_eq!(main(["--".into()]), USAGE);
    }
}
