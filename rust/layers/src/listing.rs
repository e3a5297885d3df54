//! Names in a directory.
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::dir::Dir;
pub use nix::dir::Type;
use nix::fcntl::OFlag;
use pyd_sys::path::open_beneath;

pub struct Listed {
    pub name: Vec<u8>,
    /// False also when the file system does not say.
    pub is_directory: bool,
    /// None: the file system does not say.
    pub kind: Option<Type>,
}

/// Opens a directory in `parent` for reading; not a symbolic link, not a mount.
pub fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    open_beneath(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// All names but `.` and `..`. `directory` must be open for reading; its position is not touched.
pub fn list(directory: BorrowedFd<'_>) -> nix::Result<Vec<Listed>> {
    let own = open_beneath(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut listed = Vec::new();
    for entry in Dir::from_fd(own)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            listed.push(Listed {
                name: name.to_vec(),
                is_directory: entry.file_type() == Some(Type::Directory),
                kind: entry.file_type(),
            });
        }
    }
    Ok(listed)
}
