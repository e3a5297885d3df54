//! What can go wrong with a layer, in the classes that the caller treats differently.
use nix::errno::Errno;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what they claim to be: hostile or damaged. Fetching them again may help, keeping them not.
    #[error("{0}")]
    Corrupt(String),
    /// The bytes are whole, and not those that the descriptor names.
    #[error("{0}")]
    Mismatch(String),
    /// The transfer ended early; what came is good for a resume.
    #[error("{0}")]
    Cut(String),
    #[error("{op} {path}: {}", cause(*.errno))]
    Kernel {
        op: &'static str,
        path: String,
        errno: Errno,
    },
    /// More than this host has room for, or its owner allows.
    #[error("{0}")]
    TooLarge(String),
    #[error("cancelled")]
    Cancelled,
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    /// Somebody else does something that stands in the way.
    #[error("{0}")]
    Conflict(String),
}

impl Error {
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::Corrupt(message.into())
    }

    pub fn kernel(op: &'static str, path: &[u8], errno: Errno) -> Self {
        Self::Kernel {
            op,
            path: show(path),
            errno,
        }
    }

    pub fn io(op: &'static str, path: &[u8], error: &std::io::Error) -> Self {
        Self::kernel(
            op,
            path,
            Errno::from_raw(error.raw_os_error().unwrap_or(nix::libc::EIO)),
        )
    }

    /// Whether the same bytes can never succeed, so that a partial of them is worth nothing.
    pub fn condemns_bytes(&self) -> bool {
        matches!(
            self,
            Self::Corrupt(_) | Self::Mismatch(_) | Self::Unsupported(_)
        )
    }
}

/// "no such file or directory", as Docker writes it; "RPC ..." and "I/O error" keep their capitals.
fn cause(errno: Errno) -> String {
    let text = errno.desc();
    let mut rest = text.chars();
    match rest.next() {
        Some(first) if rest.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(rest).collect()
        }
        _ => text.to_owned(),
    }
}

/// A name from an archive for a message: control characters (a terminal would obey them) and bad UTF-8 made visible,
/// bounded in length.
pub fn show(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let text = String::from_utf8_lossy(name);
    let mut shown = String::with_capacity(text.len().min(LONGEST) + 3);
    for character in text.chars() {
        if shown.len() >= LONGEST {
            shown.push_str("...");
            break;
        }
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
