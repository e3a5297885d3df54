//! What one COPY will copy: found, read and described by one digest.
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, SFlag, major, minor};

use pyd_sys::path::open_beneath;

use super::source::Source;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result, show};
use crate::name::{join, split};
use crate::pack::pinned::kind_of;

pub struct Selection {
    pub source: Arc<Source>,
    pub roots: Vec<Root>,
    /// By root and path: a directory comes before what is in it.
    pub entries: Vec<Entry>,
    pub digest: Digest,
}

/// One path that a pattern matched.
#[derive(Debug)]
pub struct Root {
    pub pattern: Vec<u8>,
    /// As it was matched: its last name is what the copy is called in a directory.
    pub path: Vec<u8>,
    /// Without symbolic links.
    pub at: Vec<u8>,
    pub is_directory: bool,
}

/// One file, directory, link or node.
#[derive(Debug)]
pub struct Entry {
    /// Number of its root.
    pub root: usize,
    /// In its root; "" is the root itself, which is an entry if it is no directory.
    pub path: Vec<u8>,
    pub stat: FileStat,
    /// The directory of the source that it lies in.
    pub layer: usize,
    /// Of a symbolic link.
    pub target: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of a regular file.
    pub content: Option<Digest>,
    pub presence: Presence,
    /// Number of the entry that is the same file.
    pub link: Option<usize>,
}

/// Why a directory is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Full,
    /// .dockerignore takes it away, but not all that is in it.
    Ignored,
    /// No pattern asked for it, but for something in it.
    Implied,
}

impl Entry {
    pub fn kind(&self) -> SFlag {
        kind_of(&self.stat)
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }

    pub fn size(&self) -> u64 {
        match self.kind() {
            SFlag::S_IFREG => self.stat.st_size.cast_unsigned(),
            _ => 0,
        }
    }
}

impl Root {
    /// What the copy is called in a directory.
    pub fn name(&self) -> &[u8] {
        split(&self.path).1
    }
}

impl Selection {
    pub fn new(source: Arc<Source>, roots: Vec<Root>, mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable_by(|one, other| {
            let by_root = one.root.cmp(&other.root);
            by_root.then_with(|| by_name(&one.path, &other.path))
        });
        drop_empty(&mut entries);
        link(&mut entries);
        let digest = digest(&source, &roots, &entries);
        Self {
            source,
            roots,
            entries,
            digest,
        }
    }

    /// Everything but directories.
    pub fn files(&self) -> usize {
        let files = self.entries.iter().filter(|entry| !entry.is_directory());
        files.count()
    }

    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::size).sum()
    }

    /// Where it lies in the source.
    pub fn path(&self, entry: &Entry) -> Vec<u8> {
        let root = &self.roots[entry.root];
        match entry.path.as_slice() {
            b"" => root.at.clone(),
            path => join(&root.at, path),
        }
    }

    /// A root that is a regular file, for reading.
    pub fn open(&self, root: usize) -> Result<OwnedFd> {
        let found = self
            .entries
            .iter()
            .find(|entry| entry.root == root && entry.path.is_empty());
        let Some(entry) = found.filter(|entry| entry.kind() == SFlag::S_IFREG) else {
            return Err(Error::Invalid(format!("source {root} is no regular file")));
        };
        let at = &self.roots[root].at;
        let (parent, name) = split(at);
        let directory = self.source.part(parent, entry.layer)?;
        // O_NONBLOCK: should a fifo have taken its place, nobody waits for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        open_beneath(directory.as_fd(), name, flags)
            .map_err(|errno| Error::kernel("open", at, errno))
    }

    /// (path in the source, what it is) of everything.
    pub fn listing(&self) -> Vec<(Vec<u8>, String)> {
        let owner = !self.source.is_context();
        let line = |entry| (self.path(entry), fingerprint(entry, owner));
        self.entries.iter().map(line).collect()
    }
}

/// The order of a walk: what is in a directory comes right after it ("a/b" before "a-").
fn by_name(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    let slash_first = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    match one.iter().zip(other).position(|(one, other)| one != other) {
        Some(at) => slash_first(&one[at]).cmp(&slash_first(&other[at])),
        None => one.len().cmp(&other.len()),
    }
}

/// Directories that are only there for what is in them, and have nothing.
fn drop_empty(entries: &mut Vec<Entry>) {
    let mut keep = vec![true; entries.len()];
    // From the end: the last kept path before which a directory stands is in it, or nothing is.
    let mut next: Option<usize> = None;
    for index in (0..entries.len()).rev() {
        let entry = &entries[index];
        let holds = next.is_some_and(|next| {
            let next = &entries[next];
            next.root == entry.root
                && next.path.len() > entry.path.len()
                && next.path.starts_with(&entry.path)
                && next.path[entry.path.len()] == b'/'
        });
        keep[index] = entry.presence == Presence::Full || holds;
        if keep[index] {
            next = Some(index);
        }
    }
    let mut keep = keep.into_iter();
    entries.retain(|_| keep.next().unwrap_or(true));
}

/// Finds out which are the same file: within one root, as BuildKit copies them.
fn link(entries: &mut [Entry]) {
    let mut first = HashMap::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        if entry.stat.st_nlink > 1 && entry.kind() == SFlag::S_IFREG {
            let key = (entry.root, entry.stat.st_dev, entry.stat.st_ino);
            let leader = *first.entry(key).or_insert(index);
            entry.link = (leader != index).then_some(leader);
        }
    }
}

/// Everything of which the copy is made, but times.
fn digest(source: &Source, roots: &[Root], entries: &[Entry]) -> Digest {
    let mut hasher = Hasher::default();
    let mut bytes = Vec::with_capacity(64 << 10);
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text);
    };
    bytes.push(u8::from(source.is_context()));
    bytes.extend((roots.len() as u64).to_le_bytes());
    for root in roots {
        bytes.push(u8::from(root.is_directory));
        text(
            &mut bytes,
            if root.is_directory { b"" } else { root.name() },
        );
    }
    for entry in entries {
        let stat = &entry.stat;
        bytes.extend((entry.root as u64).to_le_bytes());
        text(&mut bytes, &entry.path);
        // A link has no mode of its own.
        let mode = match entry.kind() {
            SFlag::S_IFLNK => SFlag::S_IFLNK.bits(),
            _ => stat.st_mode,
        };
        bytes.extend(mode.to_le_bytes());
        bytes.push(entry.presence as u8);
        if !source.is_context() {
            bytes.extend(stat.st_uid.to_le_bytes());
            bytes.extend(stat.st_gid.to_le_bytes());
        }
        match entry.kind() {
            SFlag::S_IFREG => {
                if let Some(content) = &entry.content {
                    bytes.extend(content.as_bytes());
                }
                let leader = entry.link.map_or(u64::MAX, |leader| leader as u64);
                bytes.extend(leader.to_le_bytes());
            }
            SFlag::S_IFLNK => text(&mut bytes, &entry.target),
            SFlag::S_IFCHR | SFlag::S_IFBLK => bytes.extend(stat.st_rdev.to_le_bytes()),
            _ => {}
        }
        bytes.extend((entry.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &entry.xattrs {
            text(&mut bytes, name);
            text(&mut bytes, value);
        }
        if bytes.len() > 60 << 10 {
            hasher.update(&bytes);
            bytes.clear();
        }
    }
    hasher.update(&bytes);
    hasher.finish()
}

/// What people compare to see why a step ran again.
fn fingerprint(entry: &Entry, owner: bool) -> String {
    let mode = entry.stat.st_mode & 0o7777;
    let device = entry.stat.st_rdev;
    let mut text = match entry.kind() {
        SFlag::S_IFREG => {
            let content = entry.content.map(|content| content.to_string());
            let content = content.unwrap_or_default();
            let short = content.get(..23).unwrap_or(&content);
            format!("file {mode:o} {short}")
        }
        SFlag::S_IFDIR => format!("directory {mode:o}"),
        SFlag::S_IFLNK => format!("symlink {}", show(&entry.target)),
        SFlag::S_IFIFO => format!("fifo {mode:o}"),
        SFlag::S_IFCHR => format!(
            "character device {mode:o} {}:{}",
            major(device),
            minor(device)
        ),
        _ => format!("block device {mode:o} {}:{}", major(device), minor(device)),
    };
    if owner {
        text.push_str(&format!(" {}:{}", entry.stat.st_uid, entry.stat.st_gid));
    }
    for (name, value) in &entry.xattrs {
        let mut hasher = Hasher::default();
        hasher.update(value);
        let sum = hasher.finish().to_string();
        text.push_str(&format!(
            " {}={}",
            show(name),
            sum.get(7..15).unwrap_or_default()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_followed_by_what_is_in_it() {
        let mut names = ["a-", "a/b", "a", "b", "a/b/c", "a.", "a/bb", "a/b-"];
        names.sort_by(|one, other| by_name(one.as_bytes(), other.as_bytes()));
        assert_eq!(
            names,
            ["a", "a/b", "a/b/c", "a/b-", "a/bb", "a-", "a.", "b"]
        );
    }
}
