//! What `explore` finds out, as values. Paths have no slash at their beginning; layers are numbered from the bottom.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub files: u64,
    pub bytes: u64,
}

impl Tally {
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    Added,
    Changed,
    Removed,
}

impl Happening {
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// What a layer does to one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// First, because the biggest are looked for: bytes that came or, of what is removed, went.
    pub bytes: u64,
    pub path: Reverse<Vec<u8>>,
    pub happening: Happening,
}

#[derive(Clone, Debug, Default)]
pub struct LayerReport {
    /// All that is in the layer's directory: entries without whiteouts, bytes of regular files (hard links once) and of
    /// symbolic links.
    pub entries: u64,
    pub bytes: u64,
    /// Of regular files, links and devices; directories are not counted. Bytes of `changed` are the new ones.
    pub added: Tally,
    pub changed: Tally,
    /// What is not visible any more, with the bytes that it had.
    pub removed: Tally,
    /// Of this layer's own files those that a later one replaces or removes.
    pub wasted: Tally,
    /// The biggest, biggest first.
    pub events: Vec<Event>,
}

/// A directory that is visible in the end, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub path: Vec<u8>,
    /// Regular files, links and devices below it.
    pub files: u64,
    pub bytes: u64,
    /// The uppermost layer that has it.
    pub layer: usize,
}

/// A path whose bytes are stored more often than they are seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waste {
    pub bytes: u64,
    pub path: Reverse<Vec<u8>>,
    /// The layers whose file of this path is not visible.
    pub layers: Vec<usize>,
}

/// Files with the same content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copies {
    /// What could be saved: all but one.
    pub wasted: u64,
    pub bytes: u64,
    pub places: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug, Default)]
pub struct Exploration {
    /// Bottom first.
    pub layers: Vec<LayerReport>,
    /// The root first, parents before what is in them.
    pub directories: Vec<Directory>,
    /// (bytes, path, layer) of the biggest visible files.
    pub files: Vec<(u64, Reverse<Vec<u8>>, usize)>,
    /// All that is visible in the end, hard links once.
    pub visible: Tally,
    /// All bytes that are stored and not visible.
    pub wasted: Tally,
    pub wastes: Vec<Waste>,
    /// Files with the same content as others, and what they waste.
    pub copied: Tally,
    pub copies: Vec<Copies>,
    /// Sums over all paths for the score of efficiency: the least bytes that a path ever had, and all that it had.
    pub least: u64,
    pub stored: u64,
}

/// Keeps the greatest of what it is given; all of it with a limit of 0.
pub struct Greatest<T> {
    limit: usize,
    kept: BinaryHeap<Reverse<T>>,
}

impl<T: Ord> Greatest<T> {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: BinaryHeap::new(),
        }
    }

    pub fn add(&mut self, value: T) {
        self.kept.push(Reverse(value));
        if self.limit > 0 && self.kept.len() > self.limit {
            self.kept.pop();
        }
    }

    /// Greatest first.
    pub fn sorted(self) -> Vec<T> {
        self.kept
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse(value)| value)
            .collect()
    }
}
