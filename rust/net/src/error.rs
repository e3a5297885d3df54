//! What went wrong with a network object: the call, the object, why, and the remedy where it is known.

use std::fmt;
use std::io;

use nix::errno::Errno;
use serde::Serialize;

pub type Result<T> = std::result::Result<T, Error>;

/// One failed operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// The kernel operation ("newlink", "bind", "nft commit").
    pub op: String,
    /// What it was about: a link, a table, an address.
    pub path: String,
    /// 0 where no system call failed.
    pub errno: i32,
    /// One sentence with the cause.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
}

impl Error {
    /// An operation that the kernel refused.
    pub fn kernel(op: &str, path: impl Into<String>, errno: i32) -> Self {
        let path = path.into();
        let cause = cause(errno);
        Self {
            message: format!("network: {op} {path}: {cause}"),
            hint: remedy(errno).map(str::to_owned),
            op: op.to_owned(),
            path,
            errno,
        }
    }

    /// A system call of the standard library or of pyd-sys that failed.
    pub fn io(op: &str, path: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::kernel(op, path, errno),
            None => {
                let path = path.into();
                Self {
                    message: format!("network: {op} {path}: {error}"),
                    hint: None,
                    op: op.to_owned(),
                    path,
                    errno: 0,
                }
            }
        }
    }

    /// A value that cannot be right, before any system call.
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            op: "validate".to_owned(),
            path: path.into(),
            errno: libc::EINVAL,
            message: message.into(),
            hint: None,
        }
    }

    /// The same error with the kernel's own explanation (extended ack) added.
    pub fn explained(mut self, reason: Option<&str>) -> Self {
        if let Some(reason) = reason {
            self.message = format!("{} ({reason})", self.message);
        }
        self
    }

    /// The same error with a remedy.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

fn cause(errno: i32) -> String {
    let text = Errno::from_raw(errno).desc();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => format!("errno {errno}"),
    }
}

fn remedy(errno: i32) -> Option<&'static str> {
    match errno {
        libc::EPERM | libc::EACCES => {
            Some("run as root with CAP_NET_ADMIN, or use --network none or --network host")
        }
        libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT => Some(
            "this kernel lacks bridge or veth support: load the modules bridge and veth, or use --network host",
        ),
        _ => None,
    }
}
