//! Directories as overlayfs merges them, read without mounting anything: the top one wins, directories of the same
//! name are joined, a whiteout or a file hides what is below it, and so does an opaque directory.
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::OFlag;
use pyd_sys::path::open_beneath;

use super::pinned::Pinned;
use crate::error::{Error, Result};
use crate::listing::list;
use crate::name::{join, split};
use crate::progress::Progress;
use crate::tar::MAX_NAME;
use crate::tree::Tree;

pub struct Union {
    trees: Vec<Tree>,
}

/// Where a merged directory exists: numbers of the trees, top first.
pub type Parts = Vec<usize>;

impl Union {
    /// `layers`: top first.
    pub fn open(layers: &[PathBuf]) -> Result<Self> {
        let trees = layers.iter().map(|layer| Tree::open(layer));
        Ok(Self {
            trees: trees.collect::<Result<_>>()?,
        })
    }

    /// Of the root.
    pub fn root(&self) -> Parts {
        (0..self.trees.len()).collect()
    }

    /// What `path` is, when its directory exists in `parts`; with the number of its tree.
    pub fn lookup(&mut self, parts: &[usize], path: &[u8]) -> Result<Option<(usize, Pinned)>> {
        for &part in parts {
            if let Some(object) = self.pin(part, path)? {
                return Ok((!object.is_whiteout(path)?).then_some((part, object)));
            }
        }
        Ok(None)
    }

    /// What `path` is, looked for from the root.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<Pinned>> {
        let mut parts = self.root();
        let mut end = 0;
        while let Some(slash) = path[end..].iter().position(|&byte| byte == b'/') {
            parts = self.enter(&parts, &path[..end + slash])?;
            end += slash + 1;
        }
        Ok(self.lookup(&parts, path)?.map(|(_, object)| object))
    }

    /// Where the directory `path` exists, when that above it exists in `parts`.
    pub fn enter(&mut self, parts: &[usize], path: &[u8]) -> Result<Parts> {
        let mut found = Parts::new();
        for &part in parts {
            let Some(object) = self.pin(part, path)? else {
                continue;
            };
            if !object.is_directory() {
                break;
            }
            found.push(part);
            if object.attributes(path)?.opaque {
                break;
            }
        }
        Ok(found)
    }

    /// Names in the merged directory `path` with the trees that have them, whiteouts included.
    pub fn names(&mut self, parts: &[usize], path: &[u8]) -> Result<BTreeMap<Vec<u8>, Parts>> {
        let mut names = BTreeMap::<Vec<u8>, Parts>::new();
        for &part in parts {
            let Some(directory) = self.trees[part].directory(path)? else {
                continue;
            };
            for name in names_in(&directory, path)? {
                names.entry(name).or_default().push(part);
            }
        }
        Ok(names)
    }

    fn pin(&mut self, part: usize, path: &[u8]) -> Result<Option<Pinned>> {
        let (parent, base) = split(path);
        match self.trees[part].directory(parent)? {
            Some(parent) => Pinned::open(parent, base, path),
            None => Ok(None),
        }
    }
}

/// Unsorted.
pub fn names_in(directory: &Arc<OwnedFd>, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let listed = open_beneath(directory.as_fd(), ".", flags)
        .map_err(|errno| Error::kernel("open", path, errno))
        .and_then(|open| {
            list(open.as_fd()).map_err(|errno| Error::kernel("readdir", path, errno))
        })?;
    Ok(listed.into_iter().map(|listed| listed.name).collect())
}

/// Room for the prefix of a whiteout is part of it.
pub fn check_length(path: &[u8]) -> Result<()> {
    if path.len() + b"/.wh.".len() > MAX_NAME {
        return Err(Error::Unsupported(format!(
            "{}: a path of more than {MAX_NAME} bytes cannot be in a layer",
            crate::error::show(path)
        )));
    }
    Ok(())
}

/// Every object that `layers` (top first) show together, a directory before what is in it, by name within each.
pub fn walk(
    layers: &[PathBuf],
    progress: &Progress,
    mut visit: impl FnMut(&[u8], &Pinned) -> Result<()>,
) -> Result<()> {
    let mut union = Union::open(layers)?;
    let root = union.root();
    let mut stack = vec![(Vec::new(), union.names(&root, b"")?)];
    while let Some((directory, names)) = stack.last_mut() {
        let Some((name, parts)) = names.pop_first() else {
            stack.pop();
            continue;
        };
        progress.check()?;
        let path = join(directory, &name);
        check_length(&path)?;
        let Some((_, object)) = union.lookup(&parts, &path)? else {
            continue;
        };
        visit(&path, &object)?;
        if object.is_directory() {
            let parts = union.enter(&parts, &path)?;
            let names = union.names(&parts, &path)?;
            stack.push((path, names));
        }
    }
    Ok(())
}
