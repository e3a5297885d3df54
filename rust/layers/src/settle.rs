//! What a layer leaves to those below it. Layers are unpacked in parallel, each without a look at the others; here
//! the parts come that need one.
use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use pyd_sys::path::open_beneath;
use pyd_sys::xattr;

use crate::error::{Error, Result, show};
use crate::extract::Unsettled;
use crate::listing::list;
use crate::name::split;
use crate::rights::Rights;
use crate::tar::{Entry, Kind};
use crate::tree::{Place, Tree};
use crate::{metadata, overlay};

/// `parents`: directories of the layers below, nearest first, settled themselves.
pub fn settle_layer(unsettled: &Unsettled, dest: &Path, parents: &[PathBuf]) -> Result<()> {
    let mut stack = LayerStack::default();
    for parent in parents.iter().rev() {
        stack.push(parent)?;
    }
    stack.settle(unsettled, dest)
}

/// Settled layers, and what was seen in them: each further layer looks through all of them, mostly for the same
/// directories. Nothing in them changes any more.
#[derive(Default)]
pub struct LayerStack {
    /// Nearest last.
    layers: Vec<Parent>,
}

impl LayerStack {
    /// A layer that is settled becomes the nearest.
    pub fn push(&mut self, directory: &Path) -> Result<()> {
        self.layers.push(Parent {
            tree: Tree::open(directory)?,
            seen: HashMap::new(),
        });
        Ok(())
    }

    /// Settle the layer in `dest` upon these; then it is the nearest.
    pub fn settle(&mut self, unsettled: &Unsettled, dest: &Path) -> Result<()> {
        settle(unsettled, dest, &mut self.layers)?;
        for parent in &mut self.layers {
            // Few descriptors, however many layers: a process may have 1024.
            parent.tree.shrink(1);
        }
        self.push(dest)
    }
}

/// A layer below.
struct Parent {
    tree: Tree,
    /// What directories, or what is in their place, are to those who look through the layer.
    seen: HashMap<Vec<u8>, Seen>,
}

#[derive(Clone, Copy)]
enum Seen {
    Nothing,
    /// A whiteout or a file: nothing shows through.
    Hides,
    Directory {
        opaque: bool,
    },
}

/// What is remembered of one layer. Layers share a few directories; one with very many is an attack.
const MOST_SEEN: usize = 256;

impl Parent {
    fn see(&mut self, path: &[u8]) -> Result<Seen> {
        if let Some(&seen) = self.seen.get(path) {
            return Ok(seen);
        }
        let place = place_in(&mut self.tree, path)?;
        let seen = match place.stat()? {
            None => Seen::Nothing,
            Some(stat) if kind_of(&stat) == SFlag::S_IFDIR => Seen::Directory {
                opaque: overlay::is_opaque(&place)?,
            },
            Some(_) => Seen::Hides,
        };
        if self.seen.len() == MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(path.to_vec(), seen);
        Ok(seen)
    }
}

fn settle(unsettled: &Unsettled, dest: &Path, parents: &mut [Parent]) -> Result<()> {
    let mut layer = Tree::open(dest)?;
    let rights = Rights::of_this_thread();
    if unsettled.opaque_root {
        hide_everything(&mut layer, parents)?;
    }
    let mut touched = Vec::new();
    for (path, target) in &unsettled.links {
        link_to_lower(&mut layer, parents, path, target, rights, &mut touched)?;
    }
    // Links change the times of the directories they are made in, so those come back last, and with them the implied
    // ones get what they have below. Children first, as in `extract`.
    for (directory, mtime) in touched {
        if let Some(place) = layer.place(&directory)? {
            metadata::set_time(&place, mtime)?;
        }
    }
    for path in unsettled.implied.iter().rev() {
        copy_directory_metadata(&mut layer, parents, path, rights)?;
    }
    Ok(())
}

fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// The object that `path` is in the union of the parents, with its layer.
struct Lower<'a> {
    place: Place<'a>,
    stat: FileStat,
}

/// Looks through the layers as overlayfs does: a whiteout or a file on the way hides what is below it, an opaque
/// directory too.
fn find_lower<'a>(parents: &mut [Parent], path: &'a [u8]) -> Result<Option<Lower<'a>>> {
    for parent in parents.iter_mut().rev() {
        match look_in(parent, path)? {
            Look::Found(lower) => return Ok(Some(lower)),
            Look::Hidden => return Ok(None),
            Look::Below => {}
        }
    }
    Ok(None)
}

enum Look<'a> {
    Found(Lower<'a>),
    Hidden,
    Below,
}

fn look_in<'a>(parent: &mut Parent, path: &'a [u8]) -> Result<Look<'a>> {
    let mut hides = false;
    for end in (0..path.len()).filter(|&at| path[at] == b'/') {
        match parent.see(&path[..end])? {
            Seen::Nothing => return Ok(if hides { Look::Hidden } else { Look::Below }),
            Seen::Hides => return Ok(Look::Hidden),
            Seen::Directory { opaque } => hides |= opaque,
        }
    }
    let place = place_in(&mut parent.tree, path)?;
    Ok(match place.stat()? {
        None if hides => Look::Hidden,
        None => Look::Below,
        Some(stat) if overlay::is_whiteout(&stat) => Look::Hidden,
        Some(stat) => Look::Found(Lower { place, stat }),
    })
}

/// Where `path` is in a tree that has its parent.
fn place_in<'a>(tree: &mut Tree, path: &'a [u8]) -> Result<Place<'a>> {
    let (parent, base) = split(path);
    let parent = tree
        .directory(parent)?
        .ok_or_else(|| Error::kernel("open", parent, Errno::ENOENT))?;
    Ok(Place {
        parent,
        base: if base.is_empty() { b"." } else { base },
        path,
    })
}

/// Opaque whiteout in the root: every name that the layers below have gets a whiteout, or is opaque, of its own.
fn hide_everything(layer: &mut Tree, parents: &mut [Parent]) -> Result<()> {
    let mut names = BTreeSet::new();
    for parent in parents.iter() {
        let root = open_beneath(
            parent.tree.root().as_fd(),
            ".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY,
        )
        .map_err(|errno| Error::kernel("open", b".", errno))?;
        let listed = list(root.as_fd()).map_err(|errno| Error::kernel("readdir", b".", errno))?;
        names.extend(listed.into_iter().map(|listed| listed.name));
    }
    for name in names {
        let Some(place) = layer.place(&name)? else {
            continue;
        };
        match place.stat()? {
            None => overlay::make_whiteout(&place)?,
            Some(stat) if kind_of(&stat) == SFlag::S_IFDIR => overlay::make_opaque(&place)?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// An implied directory looks as if it were the one below.
fn copy_directory_metadata(
    layer: &mut Tree,
    parents: &mut [Parent],
    path: &[u8],
    rights: Rights,
) -> Result<()> {
    let Some(lower) = find_lower(parents, path)? else {
        return Ok(());
    };
    if kind_of(&lower.stat) != SFlag::S_IFDIR {
        return Ok(());
    }
    let dot = if path.is_empty() { b"." } else { path };
    let Some(place) = layer.place(dot)? else {
        return Ok(());
    };
    let entry = described(&lower, Kind::Directory)?;
    metadata::set_on_name(&place, &entry, Some(entry.mode), rights)?;
    metadata::set_time(&place, entry.mtime)
}

/// A hard link to a file of a layer below: overlayfs would copy the file up, so does this; a second link to it then
/// finds the copy.
fn link_to_lower(
    layer: &mut Tree,
    parents: &mut [Parent],
    path: &[u8],
    target: &[u8],
    rights: Rights,
    touched: &mut Vec<(Vec<u8>, (i64, u32))>,
) -> Result<()> {
    let missing = || {
        Error::corrupt(format!(
            "layer entry {}: its hard link target {} does not exist",
            show(path),
            show(target)
        ))
    };
    let Some(place) = layer.place(path)? else {
        return Ok(()); // its directory was replaced by a later entry
    };
    remember_time(layer, split(path).0, touched)?;
    if path != target {
        if place.stat()?.is_some() {
            return Ok(()); // done by an earlier call
        }
        // The copy under the target's own name makes the two names one file, as the layer says.
        copy_up(layer, parents, target, rights, touched)?.ok_or_else(missing)?;
        let old = layer.place(target)?.ok_or_else(missing)?;
        return linkat(
            &old.parent,
            old.base,
            &place.parent,
            place.base,
            AtFlags::empty(),
        )
        .map_err(|errno| place.error("link", errno));
    }
    copy_up(layer, parents, path, rights, touched)?.ok_or_else(missing)
}

/// Times of a directory before the first change to it.
fn remember_time(
    layer: &mut Tree,
    directory: &[u8],
    touched: &mut Vec<(Vec<u8>, (i64, u32))>,
) -> Result<()> {
    let directory = if directory.is_empty() {
        b"."
    } else {
        directory
    };
    if touched.iter().any(|(path, _)| path == directory) {
        return Ok(());
    }
    if let Some(place) = layer.place(directory)?
        && let Some(stat) = place.stat()?
    {
        touched.push((directory.to_vec(), mtime(&stat)));
    }
    Ok(())
}

/// Makes `path` exist in the layer with what the layers below have there; None when they have nothing.
fn copy_up(
    layer: &mut Tree,
    parents: &mut [Parent],
    path: &[u8],
    rights: Rights,
    touched: &mut Vec<(Vec<u8>, (i64, u32))>,
) -> Result<Option<()>> {
    if let Some(place) = layer.place(path)?
        && let Some(stat) = place.stat()?
    {
        // A later entry of the same layer may have made it a directory.
        if kind_of(&stat) == SFlag::S_IFDIR {
            return Err(link_to_directory(path));
        }
        return Ok((!overlay::is_whiteout(&stat)).then_some(()));
    }
    let Some(lower) = find_lower(parents, path)? else {
        return Ok(None);
    };
    let mut made: Vec<Vec<u8>> = Vec::new();
    let mut above = split(path).0;
    while layer.directory(above)?.is_none() {
        above = split(above).0;
    }
    remember_time(layer, above, touched)?;
    let parent: Arc<OwnedFd> = layer.make_directories(split(path).0, &mut |directory| {
        made.push(directory.to_vec())
    })?;
    let place = Place {
        parent,
        base: split(path).1,
        path,
    };
    copy_file(&lower, &place, rights)?;
    for directory in made.iter().rev() {
        copy_directory_metadata(layer, parents, directory, rights)?;
    }
    Ok(Some(()))
}

fn link_to_directory(path: &[u8]) -> Error {
    Error::corrupt(format!(
        "layer entry {}: a hard link to a directory",
        show(path)
    ))
}

fn copy_file(lower: &Lower<'_>, place: &Place<'_>, rights: Rights) -> Result<()> {
    let error = |op| move |errno| place.error(op, errno);
    match kind_of(&lower.stat) {
        SFlag::S_IFDIR => Err(link_to_directory(place.path)),
        SFlag::S_IFREG => {
            let entry = described(lower, Kind::File)?;
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let from = openat(&lower.place.parent, lower.place.base, flags, Mode::empty())
                .map_err(error("open"))?;
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mode = Mode::from_bits_truncate(entry.mode & 0o777);
            let to = openat(&place.parent, place.base, flags, mode).map_err(error("open"))?;
            let mut to = File::from(to);
            // copy_file_range(2) underneath: a reflink where the file system has them.
            let copied = io::copy(&mut File::from(from), &mut to)
                .map_err(|failure| Error::io("copy", place.path, &failure))
                .and_then(|_| metadata::set_on_file(&to, place, &entry, rights));
            if copied.is_err() {
                // A half copy would pass for the whole one.
                let _ = unlinkat(&place.parent, place.base, UnlinkatFlags::NoRemoveDir);
            }
            copied
        }
        SFlag::S_IFLNK => {
            let target =
                readlinkat(&lower.place.parent, lower.place.base).map_err(error("readlink"))?;
            symlinkat(target.as_os_str(), &place.parent, place.base).map_err(error("symlink"))?;
            let entry = described(lower, Kind::Symlink)?;
            metadata::set_on_name(place, &entry, None, rights)?;
            metadata::set_time(place, entry.mtime)
        }
        kind => {
            let entry = described(lower, Kind::Fifo)?;
            let mode = Mode::from_bits_truncate(entry.mode & 0o777);
            mknodat(&place.parent, place.base, kind, mode, lower.stat.st_rdev)
                .map_err(error("mknod"))?;
            metadata::set_on_name(place, &entry, Some(entry.mode), rights)?;
            metadata::set_time(place, entry.mtime)
        }
    }
}

fn mtime(stat: &FileStat) -> (i64, u32) {
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}

/// A file of a lower layer as if it had come in an archive.
fn described(lower: &Lower<'_>, kind: Kind) -> Result<Entry> {
    let path = lower.place.proc_path()?;
    let names = xattr::llist(&path).unwrap_or_default();
    let xattrs = names
        .into_iter()
        .filter_map(|name| {
            let c_name = CString::new(name.as_slice()).ok()?;
            let value = xattr::lget(&path, &c_name).ok()?;
            Some((name, value))
        })
        .collect();
    Ok(Entry {
        name: lower.place.path.to_vec(),
        link: Vec::new(),
        kind,
        mode: lower.stat.st_mode & 0o7777,
        uid: lower.stat.st_uid,
        gid: lower.stat.st_gid,
        mtime: mtime(&lower.stat),
        size: lower.stat.st_size.cast_unsigned(),
        device: (0, 0),
        xattrs,
    })
}
