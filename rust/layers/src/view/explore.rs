//! What each layer of an image adds, changes and removes, and which of its bytes nobody sees in the end.
//!
//! All layers are walked at once. What a layer has under a path lives from that layer on until a later one covers it:
//! by a file or a whiteout of the same name, by an opaque directory, or by any of these further up the tree.
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use nix::sys::stat::FileStat;

use super::layers::{Layers, Listing};
use super::node::{FileKind, size_of};
use super::same::{Place, groups};
use super::tally::{
    Copies, Directory, Event, Exploration, Greatest, Happening, LayerReport, Tally, Waste,
};
use crate::error::Result;
use crate::name::join;
use crate::overlay::is_whiteout;
use crate::progress::Progress;

/// The end of what is never covered.
const NEVER: usize = usize::MAX;
/// Copies of less than a page are not worth a word.
const LEAST_COPY: u64 = 4096;

/// Looks through `layers` (their directories, bottom first). `top`: how many of the biggest files, events, wastes and
/// groups of copies are listed, 0 for all. Files are read only to find copies: not at all without `copies`.
pub fn explore(
    layers: &[PathBuf],
    top: usize,
    copies: bool,
    progress: &Progress,
) -> Result<Exploration> {
    let mut walk = Walk {
        layers: Layers::open(layers)?,
        result: Exploration {
            layers: vec![LayerReport::default(); layers.len()],
            ..Exploration::default()
        },
        events: layers.iter().map(|_| Greatest::new(top)).collect(),
        files: Greatest::new(top),
        wastes: Greatest::new(top),
        links: HashMap::new(),
        by_size: copies.then(HashMap::new),
        left: Vec::new(),
    };
    let root = layers.len().checked_sub(1).map(|uppermost| {
        walk.result.directories.push(Directory {
            path: Vec::new(),
            files: 0,
            bytes: 0,
            layer: uppermost,
        });
        0
    });
    walk.left.push(Task {
        path: Vec::new(),
        number: root,
        parts: (0..layers.len()).map(|layer| (layer, NEVER)).collect(),
        parents: Vec::new(),
    });
    while let Some(task) = walk.left.pop() {
        progress.check()?;
        walk.directory(&task)?;
    }
    walk.finish(top, progress)
}

/// A directory in one or more layers.
struct Task {
    path: Vec<u8>,
    /// In `Exploration.directories`, if it is visible in the end.
    number: Option<usize>,
    /// (layer, end of its life), lower ones first.
    parts: Vec<(usize, usize)>,
    /// The numbers of this directory's parents.
    parents: Vec<usize>,
}

/// What one layer has under a path.
struct Layered<'a> {
    layer: usize,
    end: usize,
    stat: &'a FileStat,
    /// Bytes that this path stands for: 0 for the second and further links to a file.
    bytes: u64,
}

impl Layered<'_> {
    fn lives_at(&self, layer: usize) -> bool {
        self.layer <= layer && layer < self.end
    }

    fn is_directory(&self) -> bool {
        FileKind::of(self.stat) == FileKind::Directory
    }

    fn is_linked(&self) -> bool {
        is_linked(self.stat)
    }
}

fn is_linked(stat: &FileStat) -> bool {
    stat.st_nlink > 1 && FileKind::of(stat) == FileKind::File
}

/// A file of a layer with several links.
struct Links {
    bytes: u64,
    is_visible: bool,
    path: Vec<u8>,
}

struct Walk {
    layers: Layers,
    result: Exploration,
    events: Vec<Greatest<Event>>,
    files: Greatest<(u64, Reverse<Vec<u8>>, usize)>,
    wastes: Greatest<Waste>,
    links: HashMap<(usize, u64), Links>,
    by_size: Option<HashMap<u64, Vec<Place>>>,
    left: Vec<Task>,
}

impl Walk {
    fn directory(&mut self, task: &Task) -> Result<()> {
        let mut listings: BTreeMap<usize, Listing> = BTreeMap::new();
        for &(layer, _) in &task.parts {
            listings.insert(layer, self.layers.list(layer, &task.path)?);
        }
        // names sorted, the layers of each from below
        let mut names: BTreeMap<&[u8], Vec<(usize, &FileStat)>> = BTreeMap::new();
        for (&layer, listing) in &listings {
            for (name, stat) in &listing.entries {
                names.entry(name).or_default().push((layer, stat));
            }
        }
        let ends: HashMap<usize, usize> = task.parts.iter().copied().collect();
        for (name, stats) in names {
            let path = join(&task.path, name);
            let mut found = Vec::with_capacity(stats.len());
            for (index, &(layer, stat)) in stats.iter().enumerate() {
                if is_whiteout(stat) {
                    continue;
                }
                let covered = covered(stat, &stats[index + 1..], name, &listings)?;
                let bytes = self.count(layer, stat, &path);
                let end = ends[&layer].min(covered);
                found.push(Layered {
                    layer,
                    end,
                    stat,
                    bytes,
                });
            }
            self.note(task, path, &found);
        }
        Ok(())
    }

    /// Counts the entry for its layer; the bytes that this path stands for.
    fn count(&mut self, layer: usize, stat: &FileStat, path: &[u8]) -> u64 {
        let report = &mut self.result.layers[layer];
        report.entries += 1;
        let bytes = size_of(stat);
        if is_linked(stat) {
            if self.links.contains_key(&(layer, stat.st_ino)) {
                return 0;
            }
            let links = Links {
                bytes,
                is_visible: false,
                path: path.to_vec(),
            };
            self.links.insert((layer, stat.st_ino), links);
        }
        report.bytes += bytes;
        if bytes >= LEAST_COPY
            && let Some(by_size) = &mut self.by_size
        {
            let places = by_size.entry(bytes).or_default();
            places.push((layer, path.to_vec()));
        }
        bytes
    }

    /// What happens to one path, layer by layer, and what is left of it.
    fn note(&mut self, task: &Task, path: Vec<u8>, found: &[Layered<'_>]) {
        let mut moments: Vec<usize> = found
            .iter()
            .flat_map(|one| [one.layer, one.end])
            .filter(|&moment| moment != NEVER)
            .collect();
        moments.sort_unstable();
        moments.dedup();
        let mut was_removed = false;
        for moment in moments {
            let before = moment
                .checked_sub(1)
                .and_then(|layer| uppermost(found, layer));
            let after = uppermost(found, moment);
            was_removed |= before.is_some() && after.is_none_or(Layered::is_directory);
            self.happen(moment, before, after, &path);
        }
        self.waste(&path, found);
        if !found.is_empty() && !found.iter().all(Layered::is_directory) {
            let files = found.iter().filter(|one| !one.is_directory());
            let least = files.clone().map(|one| one.bytes).min().unwrap_or(0);
            self.result.stored += files.map(|one| one.bytes).sum::<u64>();
            self.result.least += if was_removed { 0 } else { least };
        }
        let visible = uppermost(found, NEVER - 1);
        if let Some(one) = visible.filter(|one| !one.is_directory()) {
            self.see(task, &path, one);
        }
        let parts: Vec<(usize, usize)> = found
            .iter()
            .filter(|one| one.is_directory())
            .map(|one| (one.layer, one.end))
            .collect();
        if parts.is_empty() {
            return;
        }
        let number = visible.filter(|one| one.is_directory()).map(|one| {
            self.result.directories.push(Directory {
                path: path.clone(),
                files: 0,
                bytes: 0,
                layer: one.layer,
            });
            self.result.directories.len() - 1
        });
        let parents = task.parents.iter().copied().chain(task.number).collect();
        self.left.push(Task {
            path,
            number,
            parts,
            parents,
        });
    }

    fn happen(
        &mut self,
        layer: usize,
        before: Option<&Layered<'_>>,
        after: Option<&Layered<'_>>,
        path: &[u8],
    ) {
        let report = &mut self.result.layers[layer];
        let (happening, one) = match (before, after) {
            (None, Some(after)) => (Happening::Added, after),
            (Some(before), None) => (Happening::Removed, before),
            (Some(before), Some(after)) => {
                // a directory that a layer has again, because something in it is new, is not a change
                if after.layer != layer || (before.is_directory() && after.is_directory()) {
                    return;
                }
                (Happening::Changed, after)
            }
            (None, None) => return,
        };
        if one.is_directory() && happening != Happening::Changed {
            return;
        }
        let tally = match happening {
            Happening::Added => &mut report.added,
            Happening::Changed => &mut report.changed,
            Happening::Removed => &mut report.removed,
        };
        tally.add(one.bytes);
        self.events[layer].add(Event {
            bytes: one.bytes,
            path: Reverse(path.to_vec()),
            happening,
        });
    }

    /// What of the path is stored and not visible. Files with several links wait for the end: one that is visible is
    /// enough.
    fn waste(&mut self, path: &[u8], found: &[Layered<'_>]) {
        let mut waste = Waste {
            bytes: 0,
            path: Reverse(path.to_vec()),
            layers: Vec::new(),
        };
        for one in found.iter().filter(|one| !one.is_directory()) {
            if one.end != NEVER && !one.is_linked() {
                waste.bytes += one.bytes;
                waste.layers.push(one.layer);
                self.result.layers[one.layer].wasted.add(one.bytes);
                self.result.wasted.add(one.bytes);
            }
        }
        if waste.bytes > 0 {
            self.wastes.add(waste);
        }
    }

    fn see(&mut self, task: &Task, path: &[u8], one: &Layered<'_>) {
        let mut bytes = one.bytes;
        if one.is_linked() {
            // the first link that is visible stands for the file, though another may have been counted for the layer
            bytes = match self.links.get_mut(&(one.layer, one.stat.st_ino)) {
                Some(links) if !links.is_visible => {
                    links.is_visible = true;
                    links.bytes
                }
                _ => 0,
            };
        }
        self.result.visible.add(bytes);
        for &number in task.parents.iter().chain(task.number.iter()) {
            let directory = &mut self.result.directories[number];
            directory.files += 1;
            directory.bytes += bytes;
        }
        if FileKind::of(one.stat) == FileKind::File {
            self.files.add((bytes, Reverse(path.to_vec()), one.layer));
        }
    }

    fn finish(mut self, top: usize, progress: &Progress) -> Result<Exploration> {
        for ((layer, _), links) in std::mem::take(&mut self.links) {
            if !links.is_visible {
                self.result.layers[layer].wasted.add(links.bytes);
                self.result.wasted.add(links.bytes);
                self.wastes.add(Waste {
                    bytes: links.bytes,
                    path: Reverse(links.path),
                    layers: vec![layer],
                });
            }
        }
        let candidates = self.by_size.take().unwrap_or_default().into_iter();
        let candidates = candidates.filter(|(_, places)| places.len() > 1).collect();
        let mut copies = Greatest::new(top);
        let mut copied = Tally::default();
        for (bytes, places) in groups(&self.layers, candidates, progress)? {
            let more = places.len() as u64 - 1;
            copied.files += more;
            copied.bytes += more * bytes;
            copies.add(Copies {
                wasted: more * bytes,
                bytes,
                places,
            });
        }
        let mut result = self.result;
        for (report, events) in result.layers.iter_mut().zip(self.events) {
            report.events = events.sorted();
        }
        result.copied = copied;
        result.copies = copies.sorted();
        result.files = self.files.sorted();
        result.wastes = self.wastes.sorted();
        result
            .directories
            .sort_by(|one, other| one.path.cmp(&other.path));
        Ok(result)
    }
}

/// The layer that covers what has `stat` under `name`, among those above it (`later`, from below).
fn covered(
    stat: &FileStat,
    later: &[(usize, &FileStat)],
    name: &[u8],
    listings: &BTreeMap<usize, Listing>,
) -> Result<usize> {
    for &(layer, above) in later {
        let merges = FileKind::of(stat) == FileKind::Directory
            && FileKind::of(above) == FileKind::Directory
            && !listings[&layer].is_opaque(name)?;
        if !merges {
            return Ok(layer);
        }
    }
    Ok(NEVER)
}

/// What is seen once `layer` is the uppermost.
fn uppermost<'a, 'b>(found: &'a [Layered<'b>], layer: usize) -> Option<&'a Layered<'b>> {
    found.iter().rev().find(|one| one.lives_at(layer))
}
