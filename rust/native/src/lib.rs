//! `pyd._native`: conversions and errors, no logic. The stub is python/pyd/_native.pyi.
#![forbid(unsafe_code)]

mod build;
mod error;
mod files;
mod host;
mod ingest;
mod job;
mod layer;
mod pack;
mod progress;
mod source;
mod value;
mod view;
mod zstd;

use pyo3::prelude::*;

#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::build::{
        SealedLayer, copy_files, make_directory, reclamp, seal_layer, unpack_archive,
    };
    #[pymodule_export]
    use crate::files::{disk_usage, hash_file, remove_tree, syncfs, tree_usage};
    #[pymodule_export]
    use crate::host::{
        capabilities, cgroup_destroy, cgroup_info, cgroup_pids, cgroup_stats, network_addresses,
        network_forget, network_links, network_obstacles, seccomp_supported,
    };
    #[pymodule_export]
    use crate::ingest::LayerIngest;
    #[pymodule_export]
    use crate::layer::{LayerStack, UnpackedLayer, settle_layer, unpack_blob};
    #[pymodule_export]
    use crate::pack::{
        PackedLayer, compress_tar, inflate_blob, list_changes, pack_layer, pack_tree,
    };
    #[pymodule_export]
    use crate::progress::{Allowance, Progress};
    #[pymodule_export]
    use crate::source::{BuildContext, LayerTree, Selection};
    #[pymodule_export]
    use crate::view::{
        FileDifference, FileNode, ImageContent, LayerContent, compare_layers, explore_layers,
    };
    #[pymodule_export]
    use crate::zstd::ZstdDecoder;
}
