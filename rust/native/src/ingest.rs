//! `LayerIngest`: a layer on its way in.
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::job;
use crate::layer::{UnpackedLayer, parsed};
use crate::progress::{Progress, or_new};

#[pyclass(frozen, module = "pyd._native")]
pub struct LayerIngest {
    /// None after `finish`, `abort` or an error.
    inner: Mutex<Option<pyd_layers::LayerIngest>>,
    progress: Arc<pyd_layers::Progress>,
    offset: u64,
}

#[pymethods]
impl LayerIngest {
    #[new]
    #[pyo3(signature = (partial, dest, *, media_type, digest, size, diff_id = None, progress = None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python call"
    )]
    fn new(
        py: Python<'_>,
        partial: PathBuf,
        dest: Option<PathBuf>,
        media_type: String,
        digest: &str,
        size: u64,
        diff_id: Option<&str>,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<Self> {
        let progress = or_new(progress);
        let ingest = job::long(py, &progress, || {
            let expected = pyd_layers::Expected {
                media_type,
                digest: digest.parse()?,
                size,
                diff_id: parsed(diff_id)?,
            };
            Ok(pyd_layers::LayerIngest::open(
                &partial,
                dest.as_deref(),
                expected,
                Arc::clone(&progress),
            )?)
        })?;
        Ok(Self {
            offset: ingest.offset(),
            inner: Mutex::new(Some(ingest)),
            progress,
        })
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.offset
    }

    #[pyo3(signature = (data, /))]
    fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        job::short(py, || {
            let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let result = inner.as_mut().ok_or(ENDED)?.write(data);
            if result.is_err() {
                *inner = None;
            }
            Ok(result?)
        })
    }

    fn finish(&self, py: Python<'_>) -> PyResult<UnpackedLayer> {
        let layer = job::long(py, &self.progress, || {
            Ok(self.take().ok_or(ENDED)?.finish()?)
        })?;
        Ok(UnpackedLayer(Arc::new(layer)))
    }

    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        job::short(py, || -> Result<()> {
            if let Some(ingest) = self.take() {
                ingest.abort();
            }
            Ok(())
        })
    }
}

const ENDED: Error = Error::Ended("this ingest has ended: start another for the rest of the layer");

impl LayerIngest {
    fn take(&self) -> Option<pyd_layers::LayerIngest> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
