//! Work on whole files and trees.
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use pyd_layers::Progress;
use pyo3::prelude::*;

use crate::error::Error;
use crate::job;

#[pyfunction]
pub fn hash_file(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    let progress = Arc::<Progress>::default();
    job::long(py, &progress, || {
        Ok(pyd_layers::hash_file(&path, &progress)?.to_string())
    })
}

#[pyfunction]
pub fn remove_tree(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    let progress = Arc::<Progress>::default();
    job::long(py, &progress, || {
        Ok(pyd_layers::remove_tree(&path, &progress)?)
    })
}

#[pyfunction]
pub fn syncfs(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    job::short(py, || {
        let failed = |op| {
            let path = path.display().to_string();
            move |errno| Error::Kernel { op, path, errno }
        };
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = open(&path, flags, Mode::empty()).map_err(failed("open"))?;
        nix::unistd::syncfs(file).map_err(failed("syncfs"))
    })
}

#[pyfunction]
pub fn tree_usage(py: Python<'_>, path: PathBuf) -> PyResult<(u64, u64)> {
    let progress = Arc::<Progress>::default();
    job::long(py, &progress, || {
        let usage = pyd_layers::tree_usage(&path, &progress)?;
        Ok((usage.bytes, usage.inodes))
    })
}

#[pyfunction]
pub fn disk_usage(py: Python<'_>, paths: Vec<PathBuf>) -> PyResult<Vec<(u64, u64, u64)>> {
    let progress = Arc::<Progress>::default();
    job::long(py, &progress, || {
        let found = pyd_layers::disk_usage(&paths, &progress)?;
        Ok(found
            .into_iter()
            .map(|usage| (usage.allocated, usage.bytes, usage.inodes))
            .collect())
    })
}
