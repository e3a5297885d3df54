//! Steps of a build that change files.
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyd_layers::{Chmod, Layers, Made, Manner};
use pyo3::prelude::*;

use crate::error::Error;
use crate::job;
use crate::pack::overlay;
use crate::progress::{Allowance, Progress, allowed, or_new};
use crate::source::Selection;

#[pyclass(frozen, module = "pyd._native")]
pub struct SealedLayer(pyd_layers::SealedLayer);

#[pymethods]
impl SealedLayer {
    #[getter]
    fn diff_id(&self) -> String {
        self.0.diff_id.to_string()
    }

    #[getter]
    fn plain_size(&self) -> u64 {
        self.0.plain_size
    }

    #[getter]
    fn unpacked_size(&self) -> u64 {
        self.0.unpacked_size
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries
    }
}

#[pyfunction]
#[pyo3(signature = (upper, lowers, *, ignored = Vec::new(), epoch, clamp = true, progress = None))]
pub fn seal_layer(
    py: Python<'_>,
    upper: PathBuf,
    lowers: Vec<PathBuf>,
    ignored: Vec<PathBuf>,
    epoch: i64,
    clamp: bool,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<SealedLayer> {
    let overlay = overlay(upper, lowers, &ignored);
    let progress = or_new(progress);
    let layer = job::long(py, &progress, || {
        Ok(pyd_layers::seal_layer(&overlay, epoch, clamp, &progress)?)
    })?;
    Ok(SealedLayer(layer))
}

#[pyfunction]
pub fn reclamp(py: Python<'_>, directory: PathBuf, epoch: i64) -> PyResult<()> {
    let progress = Arc::<pyd_layers::Progress>::default();
    job::long(py, &progress, || {
        Ok(pyd_layers::reclamp(&directory, epoch, &progress)?)
    })
}

/// COPY --chmod, as Python gives it.
#[derive(FromPyObject)]
pub enum Mode {
    Octal(u32),
    Text(String),
}

impl Mode {
    fn parsed(self) -> Result<Chmod, Error> {
        Ok(match self {
            Self::Octal(mode) => Chmod::parse(&format!("{mode:o}"))?,
            Self::Text(text) => Chmod::parse(&text)?,
        })
    }
}

#[pyfunction]
#[pyo3(signature = (selection, *, lowers, upper, work, dest, dest_is_dir, uid = None, gid = None, chmod = None,
                    epoch = None, make_parents_mode = 0o755, progress = None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of one Python call"
)]
pub fn copy_files(
    py: Python<'_>,
    selection: &Bound<'_, Selection>,
    lowers: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    dest: OsString,
    dest_is_dir: bool,
    uid: Option<u32>,
    gid: Option<u32>,
    chmod: Option<Mode>,
    epoch: Option<i64>,
    make_parents_mode: u32,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<()> {
    let chmod = chmod
        .map(Mode::parsed)
        .transpose()
        .map_err(|error| error.into_py(py))?;
    let layers = Layers {
        lowers,
        upper,
        work,
    };
    let manner = Manner {
        path: dest.into_vec(),
        is_directory: dest_is_dir,
        uid,
        gid,
        chmod,
        epoch,
        parents_mode: make_parents_mode,
    };
    let selection = Arc::clone(&selection.get().0);
    let progress = or_new(progress);
    job::long(py, &progress, || {
        Ok(pyd_layers::copy_files(
            &selection, &layers, &manner, &progress,
        )?)
    })
}

#[pyfunction]
#[pyo3(signature = (path, *, lowers, upper, work, uid = 0, gid = 0, mode = 0o755, epoch = None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of one Python call"
)]
pub fn make_directory(
    py: Python<'_>,
    path: OsString,
    lowers: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    uid: u32,
    gid: u32,
    mode: u32,
    epoch: Option<i64>,
) -> PyResult<bool> {
    let layers = Layers {
        lowers,
        upper,
        work,
    };
    let as_made = Made {
        uid,
        gid,
        mode,
        epoch,
    };
    let path = path.into_vec();
    job::short(py, || {
        Ok(pyd_layers::make_directory(&path, &layers, as_made)?)
    })
}

#[pyfunction]
#[pyo3(signature = (path, *, lowers, upper, work, dest, uid = 0, gid = 0, epoch = None, progress = None,
                    allowance = None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of one Python call"
)]
pub fn unpack_archive(
    py: Python<'_>,
    path: PathBuf,
    lowers: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    dest: OsString,
    uid: u32,
    gid: u32,
    epoch: Option<i64>,
    progress: Option<&Bound<'_, Progress>>,
    allowance: Option<&Bound<'_, Allowance>>,
) -> PyResult<u64> {
    let layers = Layers {
        lowers,
        upper,
        work,
    };
    let as_made = Made {
        uid,
        gid,
        mode: 0o755,
        epoch,
    };
    let (dest, progress, allowance) = (dest.into_vec(), or_new(progress), allowed(allowance));
    job::long(py, &progress, || {
        Ok(pyd_layers::unpack_archive(
            &path, &dest, &layers, as_made, &progress, allowance,
        )?)
    })
}
