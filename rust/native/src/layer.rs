//! Layers that are in the store, and what came out of them.
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::Error;
use crate::job;
use crate::progress::{Allowance, Progress, allowed, or_new};

#[pyclass(frozen, module = "pyd._native")]
pub struct UnpackedLayer(pub Arc<pyd_layers::UnpackedLayer>);

#[pymethods]
impl UnpackedLayer {
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
        self.0
            .diff_id
            .map(|digest| digest.to_string())
            .unwrap_or_default()
    }

    #[getter]
    fn unpacked_size(&self) -> u64 {
        self.0.unpacked_size
    }

    #[getter]
    fn entries(&self) -> u64 {
        self.0.entries
    }

    #[getter]
    fn implied_dirs(&self) -> usize {
        self.0.unsettled.implied.len()
    }

    #[getter]
    fn lower_links(&self) -> usize {
        self.0.unsettled.links.len()
    }
}

pub fn parsed(digest: Option<&str>) -> Result<Option<pyd_layers::Digest>, Error> {
    Ok(digest.map(str::parse).transpose()?)
}

#[pyfunction]
#[pyo3(signature = (blob, dest, *, media_type = "", diff_id = None, progress = None, allowance = None))]
pub fn unpack_blob(
    py: Python<'_>,
    blob: PathBuf,
    dest: PathBuf,
    media_type: &str,
    diff_id: Option<&str>,
    progress: Option<&Bound<'_, Progress>>,
    allowance: Option<&Bound<'_, Allowance>>,
) -> PyResult<UnpackedLayer> {
    let diff_id = parsed(diff_id).map_err(|error| error.into_py(py))?;
    let progress = or_new(progress);
    let allowance = allowed(allowance);
    let layer = job::long(py, &progress, || {
        Ok(pyd_layers::unpack_blob(
            &blob, &dest, media_type, diff_id, &progress, allowance,
        )?)
    })?;
    Ok(UnpackedLayer(Arc::new(layer)))
}

#[pyfunction]
pub fn settle_layer(
    py: Python<'_>,
    layer: &Bound<'_, UnpackedLayer>,
    dest: PathBuf,
    parents: Vec<PathBuf>,
) -> PyResult<()> {
    let layer = Arc::clone(&layer.get().0);
    job::short(py, || {
        Ok(pyd_layers::settle_layer(&layer.unsettled, &dest, &parents)?)
    })
}

#[pyclass(frozen, module = "pyd._native")]
pub struct LayerStack(Mutex<pyd_layers::LayerStack>);

#[pymethods]
impl LayerStack {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn push(&self, py: Python<'_>, directory: PathBuf) -> PyResult<()> {
        job::short(py, || Ok(self.inner().push(&directory)?))
    }

    fn settle(
        &self,
        py: Python<'_>,
        layer: &Bound<'_, UnpackedLayer>,
        dest: PathBuf,
    ) -> PyResult<()> {
        let layer = Arc::clone(&layer.get().0);
        job::short(py, || Ok(self.inner().settle(&layer.unsettled, &dest)?))
    }
}

impl LayerStack {
    fn inner(&self) -> std::sync::MutexGuard<'_, pyd_layers::LayerStack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
