//! What COPY reads from: a directory of the host without what .dockerignore names, or a stack of layers as overlayfs
//! would show it. Nothing is ever reached through a symbolic link: links are read, and resolved inside the root.
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use pyd_sys::path::open_beneath;

use super::patterns::Patterns;
use super::remembered::Remembered;
use crate::error::{Error, Result, show};
use crate::listing::list;
use crate::name::{join, split};
use crate::overlay::{is_opaque_at, is_whiteout};
use crate::pack::pinned::kind_of;
use crate::view::proc_path;

/// Symbolic links followed in one path, as many as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

pub struct Source {
    /// Top first.
    roots: Vec<OwnedFd>,
    pub kind: Kind,
}

pub enum Kind {
    Context {
        ignore: Patterns,
        remembered: Remembered,
    },
    Layers,
}

/// Where a directory of the view exists: numbers of the roots, top first.
pub type Parts = Vec<usize>;

/// A directory of the view, open for reading.
pub struct Directory {
    /// From the root of the view; "" is the root.
    pub path: Vec<u8>,
    parts: Vec<(usize, OwnedFd)>,
}

/// What the view has under one name.
pub struct Node {
    pub stat: FileStat,
    /// The root that it is in.
    pub root: usize,
    /// Of a directory.
    pub parts: Parts,
}

impl Node {
    pub fn kind(&self) -> SFlag {
        kind_of(&self.stat)
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }
}

impl Source {
    /// `ignore`: patterns as in .dockerignore. `cache`: see `Remembered`.
    pub fn context(root: &Path, ignore: &[Vec<u8>], cache: Option<PathBuf>) -> Result<Self> {
        Ok(Self {
            roots: vec![pin(root)?],
            kind: Kind::Context {
                ignore: Patterns::new(ignore)?,
                remembered: Remembered::open(cache),
            },
        })
    }

    /// `layers`: top first.
    pub fn layers(layers: &[PathBuf]) -> Result<Self> {
        let roots: Result<_> = layers.iter().map(|layer| pin(layer)).collect();
        Ok(Self {
            roots: roots?,
            kind: Kind::Layers,
        })
    }

    pub fn is_context(&self) -> bool {
        matches!(self.kind, Kind::Context { .. })
    }

    pub fn root(&self) -> Parts {
        (0..self.roots.len()).collect()
    }

    pub fn open(&self, path: &[u8], parts: &[usize]) -> Result<Directory> {
        let open = |&part: &usize| Ok((part, self.part(path, part)?));
        Ok(Directory {
            path: path.to_vec(),
            parts: parts.iter().map(open).collect::<Result<_>>()?,
        })
    }

    /// The directory `path` in one root.
    pub fn part(&self, path: &[u8], part: usize) -> Result<OwnedFd> {
        let name: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        open_beneath(self.roots[part].as_fd(), name, flags)
            .map_err(|errno| Error::kernel("open", path, errno))
    }

    /// What `path` is, none of whose parts may be a symbolic link.
    fn stat(&self, path: &[u8]) -> Result<Option<Node>> {
        let mut node = Node {
            stat: fstat(&self.roots[0]).map_err(|errno| Error::kernel("stat", b"/", errno))?,
            root: 0,
            parts: self.root(),
        };
        let mut end = 0;
        while end < path.len() {
            let start = end + usize::from(end > 0);
            let length = path[start..].iter().position(|&byte| byte == b'/');
            let next = length.map_or(path.len(), |length| start + length);
            let directory = self.open(&path[..end], &node.parts)?;
            match directory.look(&path[start..next])? {
                Some(found) if next == path.len() || found.is_directory() => node = found,
                _ => return Ok(None),
            }
            end = next;
        }
        Ok(Some(node))
    }

    /// Whether .dockerignore takes `path` away, and all that is in it.
    fn is_ignored(&self, path: &[u8], is_directory: bool) -> bool {
        let Kind::Context { ignore, .. } = &self.kind else {
            return false;
        };
        !path.is_empty()
            && ignore.matches_alone(path).0
            && !(is_directory && ignore.may_except_below(path))
    }

    /// Follows symbolic links inside the root (at the end only with `follow`): the path without them, and what is
    /// there. None when there is nothing.
    pub fn resolve(&self, path: &[u8], follow: bool) -> Result<Option<(Vec<u8>, Node)>> {
        let components = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|&byte| byte == b'/')
                .filter(|part| !part.is_empty() && *part != b".")
                .map(<[u8]>::to_vec)
                .collect()
        };
        let mut links = MAX_LINKS;
        let mut left: VecDeque<Vec<u8>> = components(path).into();
        let mut done = Vec::new();
        while let Some(name) = left.pop_front() {
            if name == b".." {
                done.truncate(split(&done).0.len());
                continue;
            }
            let here = join(&done, &name);
            let Some(node) = self.stat(&here)? else {
                return Ok(None);
            };
            if self.is_ignored(&here, node.is_directory()) {
                return Ok(None);
            }
            let is_last = left.is_empty();
            if node.kind() != SFlag::S_IFLNK || (is_last && !follow) {
                if !is_last && !node.is_directory() {
                    return Ok(None);
                }
                done = here;
                continue;
            }
            links = links
                .checked_sub(1)
                .ok_or_else(|| Error::kernel("resolve", path, Errno::ELOOP))?;
            let directory = self.part(&done, node.root)?;
            let target = target(&directory, &name, &here)?;
            if target.starts_with(b"/") {
                done.clear();
            }
            for part in components(&target).into_iter().rev() {
                left.push_front(part);
            }
        }
        Ok(self.stat(&done)?.map(|node| (done, node)))
    }
}

impl Directory {
    /// Names with the numbers (into `parts`) of the parts that have them, sorted.
    pub fn names(&self) -> Result<BTreeMap<Vec<u8>, Parts>> {
        let mut names = BTreeMap::<Vec<u8>, Parts>::new();
        for (index, (_, part)) in self.parts.iter().enumerate() {
            let listed =
                list(part.as_fd()).map_err(|errno| Error::kernel("readdir", &self.path, errno))?;
            for one in listed {
                names.entry(one.name).or_default().push(index);
            }
        }
        Ok(names)
    }

    pub fn look(&self, name: &[u8]) -> Result<Option<Node>> {
        let all: Parts = (0..self.parts.len()).collect();
        self.look_in(name, &all)
    }

    /// What is under `name`, which only the parts of these numbers can have.
    pub fn look_in(&self, name: &[u8], having: &[usize]) -> Result<Option<Node>> {
        let mut found: Option<Node> = None;
        let mut opaque = false;
        for &index in having {
            let (root, part) = &self.parts[index];
            let stat = match fstatat(part, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(Error::kernel("stat", &join(&self.path, name), errno)),
            };
            if self.parts.len() > 1 && is_whiteout(&stat) || opaque {
                break;
            }
            let is_directory = kind_of(&stat) == SFlag::S_IFDIR;
            match &mut found {
                None => {
                    found = Some(Node {
                        stat,
                        root: *root,
                        parts: vec![*root],
                    });
                }
                Some(node) if is_directory => node.parts.push(*root),
                Some(_) => break,
            }
            if !is_directory {
                break;
            }
            if index + 1 < self.parts.len() {
                let link = proc_path(part, name)
                    .map_err(|errno| Error::kernel("open", &join(&self.path, name), errno))?;
                opaque = is_opaque_at(&link);
            }
        }
        Ok(found)
    }

    /// The directory in the root of that number.
    pub fn part(&self, root: usize) -> Option<&OwnedFd> {
        self.parts
            .iter()
            .find(|(number, _)| *number == root)
            .map(|(_, part)| part)
    }
}

/// What a symbolic link says. `path` is for messages.
pub fn target(directory: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Vec<u8>> {
    readlinkat(directory, name)
        .map(OsStringExt::into_vec)
        .map_err(|errno| Error::kernel("readlink", path, errno))
}

fn pin(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| Error::kernel("open", path.as_os_str().as_bytes(), errno))
}

/// As BuildKit says it.
pub fn not_found(path: &[u8]) -> Error {
    Error::NotFound(format!("\"/{}\": not found", show(path)))
}
