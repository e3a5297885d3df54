//! Finds the command, inside the container and as its user, with Docker's wording of what is wrong.

use nix::errno::Errno;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, eaccess};

use crate::error::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, Error, Result, describe};
use crate::spec::Process;

/// The path that `execve` gets for `process.args[0]`: as given when it has a slash, else the first executable file
/// in the directories of the process's own PATH.
pub fn find(process: &Process) -> Result<String> {
    let name = process
        .args()
        .iter()
        .flatten()
        .next()
        .map_or("", String::as_str);
    if name.contains('/') {
        return match executable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(Errno::EACCES) => Err(not_executable(name, "permission denied", Errno::EACCES)),
            // Docker finds its 126 by the kernel's words, of which it has known these two from the beginning.
            Err(Errno::EISDIR) => Err(not_executable(
                name,
                "is a directory: permission denied",
                Errno::EISDIR,
            )),
            Err(e) => {
                let mut error = Error::at("exec", "stat", name, e).exit(EXIT_NOT_FOUND);
                error.message = format!("exec: {name:?}: stat {name}: {}", describe(e));
                Err(error)
            }
        };
    }
    let path = process
        .env()
        .iter()
        .flatten()
        .rev()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or("");
    // A relative directory would depend on the working directory: Go's LookPath, hence Docker, passes over it too.
    for directory in path
        .split(':')
        .filter(|directory| directory.starts_with('/'))
    {
        let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
        if executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    let message = format!("exec: {name:?}: executable file not found in $PATH");
    let mut error = Error::new("exec", message).exit(EXIT_NOT_FOUND);
    error.path = Some(name.to_owned());
    error.errno = Some(Errno::ENOENT as i32);
    Err(error)
}

fn executable(path: &str) -> nix::Result<()> {
    let mode = stat(path)?.st_mode & SFlag::S_IFMT.bits();
    if mode == SFlag::S_IFDIR.bits() {
        return Err(Errno::EISDIR);
    }
    match eaccess(path, AccessFlags::X_OK) {
        // The container's seccomp filter does not know the call (faccessat2): execve will tell.
        Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
        other => other,
    }
}

fn not_executable(name: &str, why: &str, errno: Errno) -> Error {
    let mut error = Error::at("exec", "exec", name, errno).exit(EXIT_NOT_EXECUTABLE);
    error.message = format!("exec: {name:?}: {why}");
    error
}

/// What a failed `execve` means: a missing interpreter is "not found", everything else "not executable".
#[must_use]
pub fn refused(path: &str, errno: Errno) -> Error {
    let exit = if errno == Errno::ENOENT {
        EXIT_NOT_FOUND
    } else {
        EXIT_NOT_EXECUTABLE
    };
    let mut error = Error::at("exec", "execve", path, errno).exit(exit);
    error.message = format!("exec {path}: {}", describe(errno));
    match errno {
        Errno::ENOENT => {
            error.hint("the interpreter or loader that the file names is missing in the image")
        }
        Errno::ENOEXEC => {
            error.hint("it is no program for this machine, or a script without #! line")
        }
        _ => error,
    }
}
