//! What a build does to files: `seal` makes a layer of the directory that a step wrote into.
mod seal;

pub use seal::{SealedLayer, reclamp, seal_layer};
