//! `ZstdDecoder`: what Python's standard library has for every other format.
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::job;

#[pyclass(frozen, module = "pyd._native")]
pub struct ZstdDecoder(Mutex<pyd_layers::ZstdDecoder>);

#[pymethods]
impl ZstdDecoder {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let inner = job::short(py, || Ok(pyd_layers::ZstdDecoder::new()?))?;
        Ok(Self(Mutex::new(inner)))
    }

    #[pyo3(signature = (data, max_length, /))]
    fn decompress(&self, py: Python<'_>, data: &[u8], max_length: usize) -> PyResult<Vec<u8>> {
        job::short(py, || Ok(self.inner().decompress(data, max_length)?))
    }

    #[getter]
    fn needs_input(&self) -> bool {
        self.inner().needs_input()
    }

    #[getter]
    fn eof(&self) -> bool {
        self.inner().eof()
    }

    #[getter]
    fn unused_data(&self) -> Vec<u8> {
        self.inner().unused().to_vec()
    }
}

impl ZstdDecoder {
    fn inner(&self) -> MutexGuard<'_, pyd_layers::ZstdDecoder> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
