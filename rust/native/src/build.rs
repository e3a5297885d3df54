//! Steps of a build that change files.
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::job;
use crate::pack::overlay;
use crate::progress::{Progress, or_new};

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
