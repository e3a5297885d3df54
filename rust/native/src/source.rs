//! What COPY reads from, and what it found there.
use std::ffi::OsString;
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use pyd_layers::{Choice, Source};
use pyo3::prelude::*;

use crate::job;
use crate::progress::{Progress, or_new};

#[pyclass(frozen, module = "pyd._native")]
pub struct BuildContext(Arc<Source>);

#[pymethods]
impl BuildContext {
    #[new]
    #[pyo3(signature = (root, *, ignore = Vec::new(), cache = None))]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        ignore: Vec<OsString>,
        cache: Option<PathBuf>,
    ) -> PyResult<Self> {
        let ignore = raw(ignore);
        job::short(py, || Ok(Source::context(&root, &ignore, cache)?)).map(|it| Self(Arc::new(it)))
    }

    #[pyo3(signature = (patterns, *, excludes = Vec::new(), parents = false, required = true, follow = true,
                        progress = None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python call"
    )]
    fn select(
        &self,
        py: Python<'_>,
        patterns: Vec<OsString>,
        excludes: Vec<OsString>,
        parents: bool,
        required: bool,
        follow: bool,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<Selection> {
        let choice = Choice {
            excludes: raw(excludes),
            parents,
            required,
            follow,
        };
        select(py, &self.0, patterns, &choice, progress)
    }
}

#[pyclass(frozen, module = "pyd._native")]
pub struct LayerTree(Arc<Source>);

#[pymethods]
impl LayerTree {
    #[new]
    fn new(py: Python<'_>, layers: Vec<PathBuf>) -> PyResult<Self> {
        job::short(py, || Ok(Source::layers(&layers)?)).map(|it| Self(Arc::new(it)))
    }

    #[pyo3(signature = (patterns, *, excludes = Vec::new(), parents = false, required = true, follow = true,
                        progress = None))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python call"
    )]
    fn select(
        &self,
        py: Python<'_>,
        patterns: Vec<OsString>,
        excludes: Vec<OsString>,
        parents: bool,
        required: bool,
        follow: bool,
        progress: Option<&Bound<'_, Progress>>,
    ) -> PyResult<Selection> {
        let choice = Choice {
            excludes: raw(excludes),
            parents,
            required,
            follow,
        };
        select(py, &self.0, patterns, &choice, progress)
    }
}

#[pyclass(frozen, module = "pyd._native")]
pub struct Selection(pub Arc<pyd_layers::Selection>);

#[pymethods]
impl Selection {
    #[getter]
    fn digest(&self) -> String {
        self.0.digest.to_string()
    }

    #[getter]
    fn files(&self) -> usize {
        self.0.files()
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    #[getter]
    fn roots(&self) -> Vec<(OsString, OsString, &'static str)> {
        let root = |root: &pyd_layers::Root| {
            let kind = if root.is_directory {
                "directory"
            } else {
                "file"
            };
            let path = |path: &[u8]| OsString::from_vec(path.to_vec());
            (path(&root.pattern), path(&root.path), kind)
        };
        self.0.roots.iter().map(root).collect()
    }

    fn open(&self, py: Python<'_>, root: usize) -> PyResult<RawFd> {
        let file = job::short(py, || Ok(self.0.open(root)?))?;
        Ok(file.into_raw_fd())
    }

    fn listing(&self) -> Vec<(OsString, String)> {
        let lines = self.0.listing().into_iter();
        lines
            .map(|(path, fingerprint)| (OsString::from_vec(path), fingerprint))
            .collect()
    }
}

fn raw(texts: Vec<OsString>) -> Vec<Vec<u8>> {
    texts.into_iter().map(OsStringExt::into_vec).collect()
}

fn select(
    py: Python<'_>,
    source: &Arc<Source>,
    patterns: Vec<OsString>,
    choice: &Choice,
    progress: Option<&Bound<'_, Progress>>,
) -> PyResult<Selection> {
    let patterns = raw(patterns);
    let progress = or_new(progress);
    let selection = job::long(py, &progress, || {
        Ok(pyd_layers::select(source, &patterns, choice, &progress)?)
    })?;
    Ok(Selection(Arc::new(selection)))
}
