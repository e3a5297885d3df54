//! Directories on their way out, as layers and archives.
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use pyd_layers::{ChangeKind, Compression, Contents, Output, Overlay};
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::job;
use crate::progress::{Progress, or_new};

#[pyclass(frozen, module = "pyd._native")]
pub struct PackedLayer(pyd_layers::PackedLayer);

#[pymethods]
impl PackedLayer {
    #[getter]
    fn digest(&self) -> String {
        self.0.digest.to_string()
    }

    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    #[getter]
    fn diff_id(&self) -> String {
        self.0.diff_id.to_string()
    }

    #[getter]
    fn plain_size(&self) -> u64 {
        self.0.plain_size
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries
    }
}

#[pyfunction]
#[pyo3(signature = (out, upper, lowers = Vec::new(), *, ignored = Vec::new(), compression = "gzip", level = None,
                    threads = 0, epoch = None, progress = None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of one Python call"
)]
pub fn pack_layer(
    py: Python<'_>,
    out: RawFd,
    upper: PathBuf,
    lowers: Vec<PathBuf>,
    ignored: Vec<PathBuf>,
    compression: &str,
    level: Option<i32>,
    threads: usize,
    epoch: Option<i64>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<PackedLayer> {
    let contents = Contents::Changes(overlay(upper, lowers, &ignored));
    let how = How {
        compression,
        level,
        threads,
        epoch,
    };
    pack(py, out, contents, &how, progress)
}

#[pyfunction]
#[pyo3(signature = (out, layers, *, compression = "", level = None, threads = 0, epoch = None, progress = None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of one Python call"
)]
pub fn pack_tree(
    py: Python<'_>,
    out: RawFd,
    layers: Vec<PathBuf>,
    compression: &str,
    level: Option<i32>,
    threads: usize,
    epoch: Option<i64>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<PackedLayer> {
    let contents = Contents::Whole(layers);
    let how = How {
        compression,
        level,
        threads,
        epoch,
    };
    pack(py, out, contents, &how, progress)
}

#[pyfunction]
#[pyo3(signature = (tar, out, *, compression = "gzip", level = None, threads = 0, progress = None))]
pub fn compress_tar(
    py: Python<'_>,
    tar: PathBuf,
    out: RawFd,
    compression: &str,
    level: Option<i32>,
    threads: usize,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<PackedLayer> {
    let contents = Contents::Tar(tar);
    let how = How {
        compression,
        level,
        threads,
        epoch: None,
    };
    pack(py, out, contents, &how, progress)
}

#[pyfunction]
#[pyo3(signature = (upper, lowers, *, ignored = Vec::new()))]
pub fn list_changes(
    py: Python<'_>,
    upper: PathBuf,
    lowers: Vec<PathBuf>,
    ignored: Vec<PathBuf>,
) -> PyResult<Vec<(&'static str, OsString)>> {
    let progress = Arc::<pyd_layers::Progress>::default();
    let overlay = overlay(upper, lowers, &ignored);
    let found = job::long(py, &progress, || {
        Ok(pyd_layers::list_changes(&overlay, &progress)?)
    })?;
    let shown = found.into_iter().map(|(path, kind)| {
        let letter = match kind {
            ChangeKind::Added => "A",
            ChangeKind::Changed | ChangeKind::Opaque => "C",
            ChangeKind::Deleted => "D",
        };
        let path = [b"/", path.as_slice()].concat();
        (letter, OsString::from_vec(path))
    });
    Ok(shown.collect())
}

#[pyfunction]
#[pyo3(signature = (blob, out, *, progress = None))]
pub fn inflate_blob(
    py: Python<'_>,
    blob: PathBuf,
    out: RawFd,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<(String, u64)> {
    let progress = or_new(progress);
    let mut out = duplicate(out).map_err(|error| error.into_py(py))?;
    job::long(py, &progress, || {
        let (diff_id, size) = pyd_layers::inflate_blob(&blob, &mut out, &progress)?;
        Ok((diff_id.to_string(), size))
    })
}

pub fn overlay(upper: PathBuf, lowers: Vec<PathBuf>, ignored: &[PathBuf]) -> Overlay {
    Overlay {
        upper,
        lowers,
        ignored: ignored
            .iter()
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .collect(),
    }
}

struct How<'a> {
    compression: &'a str,
    level: Option<i32>,
    threads: usize,
    epoch: Option<i64>,
}

fn pack(
    py: Python<'_>,
    out: RawFd,
    contents: Contents,
    how: &How<'_>,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<PackedLayer> {
    let progress = or_new(progress);
    let prepared = how
        .compression
        .parse::<Compression>()
        .map_err(Error::from)
        .and_then(|compression| Ok((compression, duplicate(out)?)));
    let (compression, mut out) = prepared.map_err(|error| error.into_py(py))?;
    let output = Output {
        compression,
        level: how.level.unwrap_or_else(|| compression.default_level()),
        threads: how.threads,
        epoch: how.epoch,
    };
    let layer = job::long(py, &progress, || {
        Ok(pyd_layers::pack_layer(
            contents, &mut out, output, &progress,
        )?)
    })?;
    Ok(PackedLayer(layer))
}

/// The caller's descriptor is his to close.
fn duplicate(fd: RawFd) -> Result<File> {
    let copy = pyd_sys::inherit::duplicate(fd).map_err(|errno| Error::Kernel {
        op: "dup",
        path: format!("descriptor {fd}"),
        errno,
    })?;
    Ok(File::from(copy))
}
