//! WORKDIR: a directory that is there afterwards.
use super::destination::{Destination, Layers, Made};
use super::source::Source;
use crate::error::Result;

/// Makes the directory `path` and those on the way to it, if they are missing. Says whether anything was.
pub fn make_directory(path: &[u8], layers: &Layers, as_made: Made) -> Result<bool> {
    let stack = [std::slice::from_ref(&layers.upper), &layers.lowers].concat();
    let found = Source::layers(&stack)?.resolve(path, true)?;
    if found.is_some_and(|(_, node)| node.is_directory()) {
        return Ok(false);
    }
    let mut destination = Destination::open(layers, as_made)?;
    let at = destination.directories(path)?;
    // Something else in its place: the kernel says it.
    drop(destination.directory(&at)?);
    let made = destination.has_made();
    destination.finish()?;
    Ok(made)
}
