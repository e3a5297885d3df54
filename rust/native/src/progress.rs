//! `Progress` and `Allowance`: atomics that several jobs and Python share.
use std::sync::Arc;

use pyo3::prelude::*;

#[pyclass(frozen, module = "pyd._native")]
pub struct Progress(pub Arc<pyd_layers::Progress>);

#[pymethods]
impl Progress {
    #[new]
    #[pyo3(signature = (total = 0))]
    fn new(total: u64) -> Self {
        Self(Arc::new(pyd_layers::Progress::new(total)))
    }

    #[getter]
    fn total(&self) -> u64 {
        self.0.total()
    }

    #[getter]
    fn done(&self) -> u64 {
        self.0.done()
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }

    fn cancel(&self) {
        self.0.cancel();
    }
}

/// The caller's progress, or one that nobody looks at.
pub fn or_new(progress: Option<&Bound<'_, Progress>>) -> Arc<pyd_layers::Progress> {
    progress.map_or_else(Arc::default, |progress| Arc::clone(&progress.get().0))
}

#[pyclass(frozen, module = "pyd._native")]
pub struct Allowance(Arc<pyd_layers::Allowance>);

#[pymethods]
impl Allowance {
    #[new]
    fn new(total: u64) -> Self {
        Self(Arc::new(pyd_layers::Allowance::new(total)))
    }

    #[getter]
    fn used(&self) -> u64 {
        self.0.used()
    }
}

/// The caller's allowance, or one without a limit.
pub fn allowed(allowance: Option<&Bound<'_, Allowance>>) -> Arc<pyd_layers::Allowance> {
    allowance.map_or_else(Arc::default, |allowance| Arc::clone(&allowance.get().0))
}
