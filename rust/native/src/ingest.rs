//! `LayerIngest`: a layer on its way in.
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyd_layers::{End, Span};
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::job;
use crate::layer::{UnpackedLayer, parsed};
use crate::progress::{Allowance, Progress, allowed, or_new};

#[pyclass(frozen, module = "pyd._native")]
pub struct LayerIngest {
    /// None after `finish` and `abort`.
    inner: Mutex<Option<Arc<pyd_layers::LayerIngest>>>,
    progress: Arc<pyd_layers::Progress>,
    offset: u64,
}

#[pymethods]
impl LayerIngest {
    #[new]
    #[pyo3(signature = (
        partial, dest, *, media_type, digest, size, diff_id = None, progress = None, allowance = None
    ))]
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
        allowance: Option<&Bound<'_, Allowance>>,
    ) -> PyResult<Self> {
        let progress = or_new(progress);
        let allowance = allowed(allowance);
        let ingest = job::short(py, || {
            let expected = pyd_layers::Expected {
                media_type,
                digest: digest.parse()?,
                size,
                diff_id: parsed(diff_id)?,
                allowance,
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
            inner: Mutex::new(Some(Arc::new(ingest))),
            progress,
        })
    }

    #[getter]
    fn offset(&self) -> u64 {
        self.offset
    }

    #[getter]
    fn starved(&self, py: Python<'_>) -> PyResult<f64> {
        job::short(py, || Ok(self.inner()?.starved().as_secs_f64()))
    }

    #[getter]
    fn failed(&self, py: Python<'_>) -> PyResult<bool> {
        job::short(py, || Ok(self.inner().is_ok_and(|ingest| ingest.failed())))
    }

    #[pyo3(signature = (*, whole = true))]
    fn claim(&self, py: Python<'_>, whole: bool) -> PyResult<Option<(u64, u64)>> {
        let span = job::short(py, || Ok(self.inner()?.claim(whole)?))?;
        Ok(span.map(|span| (span.start, span.end)))
    }

    fn release(&self, py: Python<'_>, start: u64, end: u64) -> PyResult<()> {
        job::short(py, || {
            if let Ok(ingest) = self.inner() {
                ingest.release(Span { start, end });
            }
            Ok(())
        })
    }

    #[pyo3(signature = (data, /, offset = None))]
    fn write(&self, py: Python<'_>, data: &[u8], offset: Option<u64>) -> PyResult<()> {
        job::short(py, || Ok(self.inner()?.write(data, offset)?))
    }

    #[pyo3(signature = (socket, start, end, *, patience))]
    fn receive(
        &self,
        py: Python<'_>,
        socket: i32,
        start: u64,
        end: u64,
        patience: f64,
    ) -> PyResult<(u64, &'static str, i32)> {
        let (received, why) = job::long(py, &self.progress, || {
            let socket = duplicate(socket)?;
            Ok(self
                .inner()?
                .receive(&socket, Span { start, end }, seconds(patience))?)
        })?;
        Ok(match why {
            End::Whole => (received, "whole", 0),
            End::Eof | End::Closed => (received, "eof", 0),
            End::Stalled => (received, "stalled", 0),
            End::Failed(errno) => (received, "failed", errno as i32),
        })
    }

    #[pyo3(signature = (socket, request, *, patience))]
    fn ask(
        &self,
        py: Python<'_>,
        socket: i32,
        request: &[u8],
        patience: f64,
    ) -> PyResult<(u64, bool)> {
        job::long(py, &self.progress, || {
            let socket = duplicate(socket)?;
            Ok(self.inner()?.ask(&socket, request, seconds(patience))?)
        })
    }

    #[pyo3(signature = (*, sync = true))]
    fn finish(&self, py: Python<'_>, sync: bool) -> PyResult<UnpackedLayer> {
        let layer = job::long(py, &self.progress, || {
            let ingest = self.take().ok_or(ENDED)?;
            Ok(ingest.finish(sync)?)
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

fn duplicate(socket: i32) -> Result<OwnedFd> {
    pyd_sys::duplicate::duplicate(socket).map_err(|errno| Error::Kernel {
        op: "dup",
        path: format!("descriptor {socket}"),
        errno,
    })
}

fn seconds(patience: f64) -> Duration {
    Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX)
}

impl LayerIngest {
    fn inner(&self) -> Result<Arc<pyd_layers::LayerIngest>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.as_ref().map(Arc::clone).ok_or(ENDED)
    }

    fn take(&self) -> Option<Arc<pyd_layers::LayerIngest>> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
