//! Whether files have the same content. The only part that reads them, so it is spread over threads.
use std::collections::HashMap;
use std::io::Read;

use super::layers::Layers;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::threads::in_threads;

const CHUNK: usize = 128 << 10;
/// Read first: most files of one length differ there.
const HEAD: usize = 4096;

/// A regular file: layer and path in it.
pub type Place = (usize, Vec<u8>);

/// For each pair whether the two files, which are of one length, have the same bytes.
pub fn same(layers: &Layers, pairs: &[(Place, Place)], progress: &Progress) -> Result<Vec<bool>> {
    in_threads(pairs, |(one, other)| equal(layers, one, other, progress))
}

fn equal(layers: &Layers, one: &Place, other: &Place, progress: &Progress) -> Result<bool> {
    let mut files = [layers.file(one.0, &one.1)?, layers.file(other.0, &other.1)?];
    let mut buffers = [vec![0; CHUNK], vec![0; CHUNK]];
    loop {
        progress.check()?;
        let mut lengths = [0, 0];
        for (index, file) in files.iter_mut().enumerate() {
            lengths[index] = fill(file, &mut buffers[index])
                .map_err(|error| Error::io("read", &one.1, &error))?;
        }
        if lengths[0] != lengths[1] || buffers[0][..lengths[0]] != buffers[1][..lengths[1]] {
            return Ok(false);
        }
        if lengths[0] < CHUNK {
            return Ok(true);
        }
    }
}

/// Those of `candidates` (files of one length each) that have the same content, as groups of two and more.
pub fn groups(
    layers: &Layers,
    candidates: Vec<(u64, Vec<Place>)>,
    progress: &Progress,
) -> Result<Vec<(u64, Vec<Place>)>> {
    // Twice: what differs in its first page need not be read whole.
    let by_head = divided(layers, candidates, Some(HEAD), progress)?;
    divided(layers, by_head, None, progress)
}

fn divided(
    layers: &Layers,
    candidates: Vec<(u64, Vec<Place>)>,
    limit: Option<usize>,
    progress: &Progress,
) -> Result<Vec<(u64, Vec<Place>)>> {
    let files: Vec<(usize, u64, Place)> = candidates
        .into_iter()
        .enumerate()
        .flat_map(|(group, (size, places))| {
            places.into_iter().map(move |place| (group, size, place))
        })
        .collect();
    let hashes = in_threads(&files, |(_, _, place)| hash(layers, place, limit, progress))?;
    let mut divided: HashMap<(usize, Digest), (u64, Vec<Place>)> = HashMap::new();
    for ((group, size, place), hash) in files.into_iter().zip(hashes) {
        let entry = divided
            .entry((group, hash))
            .or_insert_with(|| (size, Vec::new()));
        entry.1.push(place);
    }
    let mut found: Vec<_> = divided
        .into_values()
        .filter(|(_, places)| places.len() > 1)
        .collect();
    for (_, places) in &mut found {
        places.sort();
    }
    found.sort();
    Ok(found)
}

fn hash(
    layers: &Layers,
    place: &Place,
    limit: Option<usize>,
    progress: &Progress,
) -> Result<Digest> {
    let mut file = layers.file(place.0, &place.1)?;
    let mut buffer = vec![0; limit.unwrap_or(CHUNK)];
    let mut hasher = Hasher::default();
    loop {
        progress.check()?;
        let length =
            fill(&mut file, &mut buffer).map_err(|error| Error::io("read", &place.1, &error))?;
        hasher.update(&buffer[..length]);
        if length < buffer.len() || limit.is_some() {
            return Ok(hasher.finish());
        }
    }
}

fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
