//! What the upper directory of an overlay changes in the directories below it.
use std::path::PathBuf;

use nix::sys::stat::{FileStat, SFlag};

use super::pinned::Pinned;
use super::union::{Parts, Union, check_length, names_in};
use crate::error::{Error, Result, show};
use crate::name::{WHITEOUT, join, split};
use crate::progress::Progress;
use crate::tree::Tree;

/// An overlay, as directories.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    pub upper: PathBuf,
    /// Top first. Empty: nothing is below, or nobody knows.
    pub lowers: Vec<PathBuf>,
    /// Mount points that a runtime made for itself: an empty file or a directory of this path that is not below is no
    /// change. Relative.
    pub ignored: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Added,
    Changed,
    Deleted,
    /// The directory of this path hides what is below; comes right after the directory itself.
    Opaque,
}

/// Whom the changes are for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A layer: whatever the upper directory holds, but no directory that is as it was.
    Layer,
    /// A list for people, as Docker compares: files whose metadata are as before are no change, and an opaque
    /// directory stands for the names that are missing in it.
    List,
}

pub struct Change<'a> {
    pub path: &'a [u8],
    pub kind: Kind,
    /// None for `Deleted` and `Opaque`.
    pub object: Option<&'a Pinned>,
}

struct Level {
    path: Vec<u8>,
    /// Last first.
    names: Vec<Vec<u8>>,
    /// Where the same directory is below.
    below: Parts,
    /// The directory itself, as long as nothing in it makes it worth a mention.
    pending: Option<(Kind, Pinned)>,
}

/// A directory before what is in it, by name within each. Files that vanish meanwhile are left out.
pub fn walk(
    overlay: &Overlay,
    purpose: Purpose,
    progress: &Progress,
    visit: &mut dyn FnMut(Change<'_>) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk {
        upper: Tree::open(&overlay.upper)?,
        below: Union::open(&overlay.lowers)?,
        ignored: &overlay.ignored,
        purpose,
        stack: Vec::new(),
        visit,
    };
    let below = walk.below.root();
    walk.enter(Vec::new(), below, None)?;
    while let Some(level) = walk.stack.last_mut() {
        let Some(name) = level.names.pop() else {
            walk.stack.pop();
            continue;
        };
        progress.check()?;
        let path = join(&level.path, &name);
        check_length(&path)?;
        let below = level.below.clone();
        let Some(parent) = walk.upper.directory(&level.path)? else {
            continue;
        };
        if let Some(object) = Pinned::open(parent, &name, &path)? {
            walk.object(path, object, &below)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    upper: Tree,
    below: Union,
    ignored: &'a [Vec<u8>],
    purpose: Purpose,
    stack: Vec<Level>,
    visit: &'a mut dyn FnMut(Change<'_>) -> Result<()>,
}

impl Walk<'_> {
    fn object(&mut self, path: Vec<u8>, object: Pinned, below: &[usize]) -> Result<()> {
        let listing = self.purpose == Purpose::List;
        let before = self.below.lookup(below, &path)?.map(|(_, before)| before);
        if object.is_whiteout(&path)? {
            if before.is_some() || !listing {
                self.tell(&path, Kind::Deleted, None)?;
            }
            return Ok(());
        }
        if !listing {
            check_name(&path)?;
        }
        let kind = match before {
            Some(_) => Kind::Changed,
            None => Kind::Added,
        };
        let is_mount_point = before.is_none() && self.ignored.contains(&path);
        if !object.is_directory() {
            let is_empty = object.kind() == SFlag::S_IFREG && object.stat.st_size == 0;
            let is_same = |before: &Pinned| listing && same_file(&before.stat, &object.stat);
            if (is_mount_point && is_empty) || before.as_ref().is_some_and(is_same) {
                return Ok(());
            }
            return self.tell(&path, kind, Some(&object));
        }
        let opaque = object.attributes(&path)?.opaque;
        let as_before = match &before {
            Some(before) => !opaque && same_directory(before, &object, &path)?,
            None => is_mount_point,
        };
        let was_directory = before.as_ref().is_some_and(Pinned::is_directory);
        let inner = if was_directory && (listing || !opaque) {
            self.below.enter(below, &path)?
        } else {
            Parts::new()
        };
        if as_before {
            return self.enter(path, inner, Some((kind, object)));
        }
        if listing && was_directory && same_metadata(before.as_ref(), &object) {
            // Opaque, and otherwise as it was: what is missing in it makes the change.
            self.enter(path.clone(), inner.clone(), Some((kind, object)))?;
        } else {
            self.tell(&path, kind, Some(&object))?;
            self.enter(path.clone(), inner.clone(), None)?;
        }
        match (opaque, listing) {
            (true, true) => self.missing(&path, &inner),
            (true, false) => self.tell(&path, Kind::Opaque, None),
            (false, _) => Ok(()),
        }
    }

    fn enter(
        &mut self,
        path: Vec<u8>,
        below: Parts,
        pending: Option<(Kind, Pinned)>,
    ) -> Result<()> {
        let Some(directory) = self.upper.directory(&path)? else {
            return Ok(());
        };
        let mut names = names_in(&directory, &path)?;
        names.sort_unstable_by(|one, other| other.cmp(one));
        self.stack.push(Level {
            path,
            names,
            below,
            pending,
        });
        Ok(())
    }

    /// Names that only the directories below have, of the directory that was just entered.
    fn missing(&mut self, path: &[u8], below: &[usize]) -> Result<()> {
        let own = self.stack.last().map(|level| level.names.clone());
        let own = own.unwrap_or_default();
        for (name, parts) in self.below.names(below, path)? {
            let gone = join(path, &name);
            if !own.contains(&name) && self.below.lookup(&parts, &gone)?.is_some() {
                self.tell(&gone, Kind::Deleted, None)?;
            }
        }
        Ok(())
    }

    /// After the directories that this is in.
    fn tell(&mut self, path: &[u8], kind: Kind, object: Option<&Pinned>) -> Result<()> {
        for level in &mut self.stack {
            if let Some((kind, directory)) = level.pending.take() {
                (self.visit)(Change {
                    path: &level.path,
                    kind,
                    object: Some(&directory),
                })?;
            }
        }
        (self.visit)(Change { path, kind, object })
    }
}

/// Refuses a name that a layer cannot say.
pub fn check_name(path: &[u8]) -> Result<()> {
    if split(path).1.starts_with(WHITEOUT) {
        return Err(Error::Unsupported(format!(
            "{}: a name that begins with \".wh.\" means a removed file in a layer",
            show(path)
        )));
    }
    Ok(())
}

/// Docker's rule (moby pkg/archive, statDifferent): size and time say whether a file was written.
fn same_file(before: &FileStat, now: &FileStat) -> bool {
    let seconds = before.st_mtime == now.st_mtime;
    let exact = before.st_mtime_nsec == now.st_mtime_nsec;
    // Some archives have no fractions.
    let coarse = before.st_mtime_nsec == 0 || now.st_mtime_nsec == 0;
    same_stat(before, now) && before.st_size == now.st_size && seconds && (exact || coarse)
}

fn same_stat(before: &FileStat, now: &FileStat) -> bool {
    before.st_mode == now.st_mode
        && before.st_uid == now.st_uid
        && before.st_gid == now.st_gid
        && before.st_rdev == now.st_rdev
}

fn same_metadata(before: Option<&Pinned>, now: &Pinned) -> bool {
    before.is_some_and(|before| same_stat(&before.stat, &now.stat))
}

/// The time of a directory says only that something in it has come or gone.
pub fn same_directory(before: &Pinned, now: &Pinned, path: &[u8]) -> Result<bool> {
    Ok(same_stat(&before.stat, &now.stat)
        && before.attributes(path)?.kept == now.attributes(path)?.kept)
}
