//! One error for every step of a container's life: a sentence for people, fields for programs.
//!
//! The same value crosses two process borders (from the container's init to its parent, from the shim to
//! Python), so it is plain data that serialises to one JSON object.

use std::fmt;
use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Exit code of an engine failure (Docker's convention; `docker run --help`).
pub const EXIT_ENGINE: u8 = 125;
/// Exit code of a command that exists but cannot be executed.
pub const EXIT_NOT_EXECUTABLE: u8 = 126;
/// Exit code of a command that was not found.
pub const EXIT_NOT_FOUND: u8 = 127;

/// What failed, where, and what the kernel said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// One sentence: cause first, no trailing full stop.
    pub message: String,
    /// The part of a start that failed: `spec`, `cgroup`, `namespaces`, `rootfs`, `mounts`, `exec`, ...
    pub stage: String,
    /// The system call or step.
    pub op: String,
    /// The path the step was about, as the container or the spec names it.
    pub path: Option<String>,
    /// Number of the kernel's error, if the kernel refused.
    pub errno: Option<i32>,
    /// The remedy, where it is known.
    pub hint: Option<String>,
    /// 125, 126 or 127 (see the constants of this module).
    pub exit_code: u8,
}

/// Result of every step of the runtime.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that no system call reported: a wrong spec, a wrong state, a refused path.
    pub fn new(stage: &str, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            stage: stage.to_owned(),
            op: String::new(),
            path: None,
            errno: None,
            hint: None,
            exit_code: EXIT_ENGINE,
        }
    }

    /// The spec or a command line argument is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("spec", message)
    }

    /// A system call failed: `op` names it, the message becomes "`op`: what errno says".
    pub fn os(stage: &str, op: &str, errno: impl Into<Errno>) -> Self {
        let errno = errno.into();
        Self {
            message: format!("{op}: {}", describe(errno)),
            op: op.to_owned(),
            errno: Some(errno as i32),
            ..Self::new(stage, "")
        }
    }

    /// A system call on a path failed: the message becomes "`op` `path`: what errno says".
    pub fn at(stage: &str, op: &str, path: impl AsRef<Path>, errno: impl Into<Errno>) -> Self {
        let errno = errno.into();
        let path = path.as_ref().display().to_string();
        Self {
            message: format!("{op} {path}: {}", describe(errno)),
            op: op.to_owned(),
            path: Some(path),
            errno: Some(errno as i32),
            ..Self::new(stage, "")
        }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts `context: ` before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Sets the exit code that a front door should end with.
    #[must_use]
    pub fn exit(mut self, code: u8) -> Self {
        self.exit_code = code;
        self
    }

    /// The kernel's error number as a value, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }
}

/// The text of an errno as C and Go programs print it, in lower case ("no such file or directory").
#[must_use]
pub fn describe(errno: Errno) -> String {
    let text = errno.desc();
    let mut chars = text.chars();
    match chars.next() {
        // "RPC ..." and "I/O error" keep their capitals, only a capitalised word is lowered.
        Some(first)
            if !chars
                .clone()
                .next()
                .is_some_and(|c| c.is_uppercase() || c == '/') =>
        {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_operation_path_and_cause() {
        let e = Error::at("mounts", "mount", "/x", Errno::ENOENT).hint("create it");
        assert_eq!(
            e.to_string(),
            "mount /x: no such file or directory (create it)"
        );
        assert_eq!(e.errno(), Some(Errno::ENOENT));
    }

    #[test]
    fn crosses_a_process_border_unchanged() {
        let e = Error::os("exec", "execve", Errno::EACCES).exit(EXIT_NOT_EXECUTABLE);
        let wire = serde_json::to_vec(&e).unwrap();
        assert_eq!(serde_json::from_slice::<Error>(&wire).unwrap(), e);
    }
}
