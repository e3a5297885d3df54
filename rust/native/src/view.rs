//! Stacks of layers as one root directory.
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyd_layers::Tally;
use pyo3::prelude::*;

use crate::job;

#[pyclass(frozen, get_all, module = "pyd._native")]
#[derive(Clone)]
pub struct FileNode {
    kind: &'static str,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: (i64, i64),
    device: (u64, u64),
    target: OsString,
    xattrs: Vec<(OsString, Vec<u8>)>,
}

#[pyclass(frozen, get_all, module = "pyd._native")]
pub struct FileDifference {
    path: OsString,
    before: Option<FileNode>,
    after: Option<FileNode>,
    changes: Vec<&'static str>,
}

#[pyclass(frozen, get_all, module = "pyd._native")]
#[derive(Clone)]
pub struct LayerContent {
    entries: u64,
    bytes: u64,
    added: (u64, u64),
    changed: (u64, u64),
    removed: (u64, u64),
    wasted: (u64, u64),
    events: Vec<(&'static str, OsString, u64)>,
}

#[pyclass(frozen, get_all, module = "pyd._native")]
pub struct ImageContent {
    layers: Vec<LayerContent>,
    directories: Vec<(OsString, u64, u64, usize)>,
    files: Vec<(OsString, u64, usize)>,
    visible: (u64, u64),
    wasted: (u64, u64),
    wastes: Vec<(OsString, u64, Vec<usize>)>,
    copied: (u64, u64),
    copies: Vec<(u64, Vec<(usize, OsString)>)>,
    least: u64,
    stored: u64,
}

#[pyfunction]
pub fn compare_layers(
    py: Python<'_>,
    before: Vec<PathBuf>,
    after: Vec<PathBuf>,
) -> PyResult<Vec<FileDifference>> {
    let progress = Arc::<pyd_layers::Progress>::default();
    let found = job::long(py, &progress, || {
        Ok(pyd_layers::compare(&before, &after, &progress)?)
    })?;
    Ok(found.into_iter().map(FileDifference::from).collect())
}

#[pyfunction]
#[pyo3(signature = (layers, *, top = 0, copies = true))]
pub fn explore_layers(
    py: Python<'_>,
    layers: Vec<PathBuf>,
    top: usize,
    copies: bool,
) -> PyResult<ImageContent> {
    let progress = Arc::<pyd_layers::Progress>::default();
    let found = job::long(py, &progress, || {
        Ok(pyd_layers::explore(&layers, top, copies, &progress)?)
    })?;
    Ok(found.into())
}

fn text(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

fn pair(tally: Tally) -> (u64, u64) {
    (tally.files, tally.bytes)
}

impl From<pyd_layers::Node> for FileNode {
    fn from(node: pyd_layers::Node) -> Self {
        Self {
            kind: node.kind.name(),
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            mtime: node.mtime,
            device: node.device,
            target: text(node.target),
            xattrs: node
                .xattrs
                .into_iter()
                .map(|(name, value)| (text(name), value))
                .collect(),
        }
    }
}

impl From<pyd_layers::Difference> for FileDifference {
    fn from(found: pyd_layers::Difference) -> Self {
        Self {
            path: text(found.path),
            before: found.before.map(FileNode::from),
            after: found.after.map(FileNode::from),
            changes: found.changes,
        }
    }
}

impl From<pyd_layers::LayerReport> for LayerContent {
    fn from(report: pyd_layers::LayerReport) -> Self {
        Self {
            entries: report.entries,
            bytes: report.bytes,
            added: pair(report.added),
            changed: pair(report.changed),
            removed: pair(report.removed),
            wasted: pair(report.wasted),
            events: report
                .events
                .into_iter()
                .map(|event| (event.happening.name(), text(event.path.0), event.bytes))
                .collect(),
        }
    }
}

impl From<pyd_layers::Exploration> for ImageContent {
    fn from(found: pyd_layers::Exploration) -> Self {
        let directories = found.directories.into_iter();
        let copies = found.copies.into_iter();
        let places = |places: Vec<(usize, Vec<u8>)>| {
            places
                .into_iter()
                .map(|(layer, path)| (layer, text(path)))
                .collect()
        };
        Self {
            layers: found.layers.into_iter().map(LayerContent::from).collect(),
            directories: directories
                .map(|one| (text(one.path), one.bytes, one.files, one.layer))
                .collect(),
            files: found
                .files
                .into_iter()
                .map(|(bytes, path, layer)| (text(path.0), bytes, layer))
                .collect(),
            visible: pair(found.visible),
            wasted: pair(found.wasted),
            wastes: found
                .wastes
                .into_iter()
                .map(|one| (text(one.path.0), one.bytes, one.layers))
                .collect(),
            copied: pair(found.copied),
            copies: copies.map(|one| (one.bytes, places(one.places))).collect(),
            least: found.least,
            stored: found.stored,
        }
    }
}
