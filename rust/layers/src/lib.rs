//! Bytes <-> directories: layers of container images, unpacked in one pass and verified, without ever leaving the
//! directory they are for. The files are named for the way of a byte: `ask` and `receive` take it from the registry, `partial`
//! keeps it, `ingest` follows what has come, `pipeline` carries it through `decoder` (or `whole`), `source` and `tar`
//! to `extract`; `settle` then joins layers. `pack` is the way back, and `build` makes layers of what a build writes.
#![forbid(unsafe_code)]

mod allowance;
mod ask;
mod buffer;
mod build;
mod compression;
mod decoder;
mod digest;
mod error;
mod extract;
mod inflate;
mod ingest;
mod listing;
mod metadata;
mod name;
mod overlay;
mod pack;
mod partial;
mod pipe;
mod pipeline;
mod progress;
mod receive;
mod remove;
mod rights;
mod settle;
mod source;
mod stored;
pub mod tar;
mod threads;
mod tree;
mod usage;
mod view;
mod whole;

pub use allowance::Allowance;
pub use build::{
    Chmod, Choice, Layers, Made, Manner, Root, SealedLayer, Selection, Source, copy_files,
    make_directory, reclamp, seal_layer, select, unpack_archive,
};
pub use compression::Compression;
pub use digest::{Digest, Hasher, hash_file};
pub use error::{Error, Result};
pub use extract::Unsettled;
pub use inflate::{ZstdDecoder, inflate_blob};
pub use ingest::{Expected, LayerIngest, UnpackedLayer, unpack_blob};
pub use pack::{ChangeKind, Contents, Output, Overlay, PackedLayer, list_changes, pack_layer};
pub use partial::{PIECE, Span};
pub use progress::Progress;
pub use receive::End;
pub use remove::remove_tree;
pub use settle::{LayerStack, settle_layer};
pub use usage::{Usage, disk_usage, tree_usage};
pub use view::{
    Copies, Difference, Directory, Event, Exploration, FileKind, Happening, LayerReport, Node,
    Tally, Waste, compare, explore,
};
