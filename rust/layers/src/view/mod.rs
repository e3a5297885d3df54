//! What a stack of unpacked layers looks like as one root directory, read without mounting it: whiteouts and opaque
//! directories are applied as overlayfs does. `compare` says in what two views differ, `explore` what each layer of one
//! adds, changes and removes.
mod compare;
mod explore;
mod layers;
mod node;
mod same;
mod tally;

pub use compare::{Difference, compare};
pub use explore::explore;
pub(crate) use node::proc_path;
pub use node::{FileKind, Node};
pub use tally::{Copies, Directory, Event, Exploration, Happening, LayerReport, Tally, Waste};
