//! What a build does to files: `select` finds what a COPY means in its `source` and `scan` reads it, which makes a
//! `selection`; `seal` makes a layer of the directory that a step wrote into.
mod patterns;
mod remembered;
mod scan;
mod seal;
mod select;
mod selection;
mod source;

pub use seal::{SealedLayer, reclamp, seal_layer};
pub use select::{Choice, select};
pub use selection::{Root, Selection};
pub use source::Source;
