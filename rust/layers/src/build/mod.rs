//! What a build does to files: `select` finds what a COPY means in its `source` and `scan` reads it, which makes a
//! `selection`; `copy` writes that into its `destination`, `unpack` an archive; `seal` makes a layer of the directory that a step wrote into.
mod chmod;
mod copy;
mod destination;
mod directory;
mod pass;
mod patterns;
mod remembered;
mod scan;
mod seal;
mod select;
mod selection;
mod source;
mod touch;
mod unpack;

pub use chmod::Chmod;
pub use copy::{Manner, copy_files};
pub use destination::{Layers, Made};
pub use directory::make_directory;
pub use seal::{SealedLayer, reclamp, seal_layer};
pub use select::{Choice, select};
pub use selection::{Root, Selection};
pub use source::Source;
pub use unpack::unpack_archive;
