//! In what two views differ. Both are walked at once; where they are made of the same layers nothing can differ, so
//! that two images with a common base are compared without looking at it.
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::stat::FileStat;

use super::layers::{Layers, Listing};
use super::node::{FileKind, Node};
use super::same::{Place, same};
use crate::error::Result;
use crate::name::join;
use crate::overlay::is_whiteout;
use crate::progress::Progress;

/// One path that only one view has, or that is different in them.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Without a slash at its beginning; empty for the root itself.
    pub path: Vec<u8>,
    pub before: Option<Node>,
    pub after: Option<Node>,
    /// type, size, content, mode, owner, target, device, xattrs, mtime; empty unless both are there.
    pub changes: Vec<&'static str>,
}

/// What leads from `before` to `after` (directories of layers, top first), sorted by path. With nothing before, all of
/// `after` is new. Files are read only where length alone does not tell. A time that alone differs is a difference too
/// (but not of a directory, whose time changes with its content): the caller may pass over it.
pub fn compare(
    before: &[PathBuf],
    after: &[PathBuf],
    progress: &Progress,
) -> Result<Vec<Difference>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut number = |stack: &[PathBuf]| -> Vec<usize> {
        stack
            .iter()
            .map(|path| match paths.iter().position(|known| known == path) {
                Some(index) => index,
                None => {
                    paths.push(path.clone());
                    paths.len() - 1
                }
            })
            .collect()
    };
    let stacks = [number(before), number(after)];
    let mut walk = Walk {
        layers: Layers::open(&paths)?,
        found: Vec::new(),
        unread: Vec::new(),
        left: Vec::new(),
    };
    walk.root(&stacks)?;
    walk.left.push(Task {
        path: Vec::new(),
        stacks,
    });
    while let Some(task) = walk.left.pop() {
        progress.check()?;
        walk.directory(task)?;
    }
    walk.read(progress)?;
    Ok(walk.found)
}

/// A directory in both views: the layers that make it up in each, top first.
struct Task {
    path: Vec<u8>,
    stacks: [Vec<usize>; 2],
}

struct Walk {
    layers: Layers,
    found: Vec<Difference>,
    /// Pairs of files of one length, with the number of their difference.
    unread: Vec<(usize, (Place, Place))>,
    left: Vec<Task>,
}

/// What a view has under one name.
struct Seen<'a> {
    layer: usize,
    stat: &'a FileStat,
    /// Of a directory: the layers that make it up.
    stack: Vec<usize>,
}

type Names<'a> = BTreeMap<&'a [u8], HashMap<usize, &'a FileStat>>;

impl Walk {
    fn root(&mut self, stacks: &[Vec<usize>; 2]) -> Result<()> {
        let (Some(&one), Some(&other)) = (stacks[0].first(), stacks[1].first()) else {
            return Ok(());
        };
        if one == other {
            return Ok(());
        }
        let node = |layer| -> Result<Node> {
            let directory = self.layers.directory(layer, b"")?;
            let stat = nix::sys::stat::fstat(&directory)
                .map_err(|errno| crate::error::Error::kernel("stat", b"/", errno))?;
            Node::read(&directory, b".", b"/", &stat)
        };
        let (before, after) = (node(one)?, node(other)?);
        self.changed(Vec::new(), before, after, None);
        Ok(())
    }

    fn directory(&mut self, task: Task) -> Result<()> {
        if task.stacks[0] == task.stacks[1] {
            return Ok(());
        }
        let mut listings: HashMap<usize, Listing> = HashMap::new();
        for &layer in task.stacks.iter().flatten() {
            if let Entry::Vacant(place) = listings.entry(layer) {
                place.insert(self.layers.list(layer, &task.path)?);
            }
        }
        let mut names = Names::new();
        for (&layer, listing) in &listings {
            for (name, stat) in &listing.entries {
                names.entry(name).or_default().insert(layer, stat);
            }
        }
        for (name, stats) in names {
            let [before, after] = &task.stacks;
            let before = look(before, name, &stats, &listings)?;
            let after = look(after, name, &stats, &listings)?;
            self.name(&task.path, name, [before, after], &listings)?;
        }
        Ok(())
    }

    fn name(
        &mut self,
        parent: &[u8],
        name: &[u8],
        seen: [Option<Seen<'_>>; 2],
        listings: &HashMap<usize, Listing>,
    ) -> Result<()> {
        let path = join(parent, name);
        let node = |seen: &Seen<'_>| -> Result<Node> {
            let directory: &OwnedFd = &listings[&seen.layer].directory;
            Node::read(directory, name, &path, seen.stat)
        };
        match &seen {
            [None, None] => return Ok(()),
            [Some(before), Some(after)] if before.layer == after.layer => {}
            [Some(one), Some(other)] => {
                let (before, after) = (node(one)?, node(other)?);
                // hard links of one file over several layers of one file system have one content
                let same =
                    one.stat.st_ino == other.stat.st_ino && one.stat.st_dev == other.stat.st_dev;
                let places = (!same).then_some((one.layer, other.layer));
                self.changed(path.clone(), before, after, places);
            }
            [before, after] => {
                let before = before.as_ref().map(&node).transpose()?;
                let after = after.as_ref().map(&node).transpose()?;
                self.found.push(Difference {
                    path: path.clone(),
                    before,
                    after,
                    changes: Vec::new(),
                });
            }
        }
        let stacks = seen.map(|seen| seen.map(|seen| seen.stack).unwrap_or_default());
        if stacks[0] != stacks[1] {
            self.left.push(Task { path, stacks });
        }
        Ok(())
    }

    /// Notes in what the two differ. `layers`: where they are, if their contents are not known to be the same.
    fn changed(
        &mut self,
        path: Vec<u8>,
        before: Node,
        after: Node,
        layers: Option<(usize, usize)>,
    ) {
        let changes = changes(&before, &after);
        let regular = before.kind == FileKind::File && after.kind == FileKind::File;
        let unread = regular && before.size == after.size && before.size > 0;
        if let (true, Some((one, other))) = (unread, layers) {
            let places = ((one, path.clone()), (other, path.clone()));
            self.unread.push((self.found.len(), places));
        } else if changes.is_empty() {
            return;
        }
        self.found.push(Difference {
            path,
            before: Some(before),
            after: Some(after),
            changes,
        });
    }

    /// Compares contents, drops what turns out to be the same, and sorts.
    fn read(&mut self, progress: &Progress) -> Result<()> {
        let (numbers, pairs): (Vec<usize>, Vec<_>) =
            std::mem::take(&mut self.unread).into_iter().unzip();
        for (number, same) in numbers
            .into_iter()
            .zip(same(&self.layers, &pairs, progress)?)
        {
            if !same {
                self.found[number].changes.insert(0, "content");
            }
        }
        self.found
            .retain(|one| one.before.is_none() || one.after.is_none() || !one.changes.is_empty());
        self.found.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(())
    }
}

/// What the view of `stack` has under `name`, as overlayfs finds it: the uppermost, and if that is a directory, those
/// below it up to a whiteout, a file or an opaque one.
fn look<'a>(
    stack: &[usize],
    name: &[u8],
    stats: &HashMap<usize, &'a FileStat>,
    listings: &HashMap<usize, Listing>,
) -> Result<Option<Seen<'a>>> {
    let mut having = stack
        .iter()
        .filter_map(|layer| stats.get(layer).map(|stat| (*layer, *stat)))
        .peekable();
    let Some((layer, stat)) = having.next() else {
        return Ok(None);
    };
    if is_whiteout(stat) {
        return Ok(None);
    }
    let mut seen = Seen {
        layer,
        stat,
        stack: Vec::new(),
    };
    if FileKind::of(stat) != FileKind::Directory {
        return Ok(Some(seen));
    }
    seen.stack.push(layer);
    let mut lowest = layer;
    while let Some(&(layer, stat)) = having.peek() {
        if FileKind::of(stat) != FileKind::Directory || listings[&lowest].is_opaque(name)? {
            break;
        }
        seen.stack.push(layer);
        lowest = layer;
        having.next();
    }
    Ok(Some(seen))
}

fn changes(before: &Node, after: &Node) -> Vec<&'static str> {
    if before.kind != after.kind {
        return vec!["type"];
    }
    let mut changes = Vec::new();
    let mut note = |differs: bool, what| {
        if differs {
            changes.push(what);
        }
    };
    note(before.size != after.size, "size");
    // a symbolic link has no mode of its own
    let is_link = before.kind == FileKind::Symlink;
    note(!is_link && before.mode != after.mode, "mode");
    note((before.uid, before.gid) != (after.uid, after.gid), "owner");
    note(before.target != after.target, "target");
    note(before.device != after.device, "device");
    note(before.xattrs != after.xattrs, "xattrs");
    let is_directory = before.kind == FileKind::Directory;
    note(!is_directory && before.mtime != after.mtime, "mtime");
    changes
}
