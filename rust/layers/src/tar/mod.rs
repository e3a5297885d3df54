//! Tar archives as layers use them: ustar, GNU and PAX, read strictly. Two readers that understand the same bytes
//! differently are how files are smuggled past a check (CVE-2025-62518), so what is ambiguous is refused.
//!
//! Sources: POSIX.1-2024 pax, GNU tar manual "Standard" and "Sparse Formats", image-spec layer.md.
mod header;
mod number;
mod pax;
mod reader;
mod sparse;
pub(crate) mod writer;

pub use reader::Reader;

/// Entries of one layer. Docker Hub's largest images have about half a million.
pub const MAX_ENTRIES: u64 = 4_000_000;
/// Bytes of a path or link target: PATH_MAX counts the final NUL.
pub const MAX_NAME: usize = 4095;
/// Bytes of one PAX header.
pub const MAX_PAX: u64 = 1 << 20;
/// Bytes of all extended attributes of one entry, names and values.
pub const MAX_XATTRS: usize = 64 << 10;

/// What an entry makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    /// Ranges (offset, length) of a file that are in the archive, in order; the rest are holes.
    SparseFile(Vec<(u64, u64)>),
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One member of an archive, as written there: names are not yet checked.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: Vec<u8>,
    /// Target of a hard link or symlink.
    pub link: Vec<u8>,
    pub kind: Kind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of the file on disk, holes included.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}
