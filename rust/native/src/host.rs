//! cgroups, links and rights of this host.
use pyd_runtime::capabilities as caps;
use pyd_runtime::cgroup::{self, Cgroup};
use pyo3::prelude::*;

use crate::job;
use crate::value::to_python;

#[pyfunction]
pub fn cgroup_info(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let info = job::short(py, || Ok(cgroup::info()?))?;
    to_python(py, &info)
}

#[pyfunction]
pub fn cgroup_stats<'py>(py: Python<'py>, path: &str) -> PyResult<Bound<'py, PyAny>> {
    let stats = job::short(py, || Ok(Cgroup::load(path)?.stats()?))?;
    to_python(py, &stats)
}

#[pyfunction]
pub fn cgroup_pids(py: Python<'_>, path: &str) -> PyResult<Vec<i32>> {
    job::short(py, || Ok(Cgroup::load(path)?.pids()?))
}

#[pyfunction]
pub fn cgroup_destroy(py: Python<'_>, path: &str) -> PyResult<()> {
    job::short(py, || Ok(cgroup::destroy(path)?))
}

#[pyfunction]
pub fn network_forget(py: Python<'_>, container_id: &str) -> PyResult<()> {
    job::short(py, || Ok(pyd_net::forget(container_id)?))
}

#[pyfunction]
pub fn network_addresses(py: Python<'_>) -> PyResult<Vec<String>> {
    job::short(py, || Ok(pyd_net::addresses()?))
}

#[pyfunction]
pub fn network_links(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let links = job::short(py, || Ok(pyd_net::links()?))?;
    to_python(py, &links)
}

#[pyfunction]
pub fn network_obstacles(py: Python<'_>, bridge: &str) -> PyResult<Vec<String>> {
    job::short(py, || Ok(pyd_net::obstacles(bridge)))
}

#[pyfunction]
pub fn capabilities(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let (effective, bounding) = job::short(py, || Ok(caps::own()?))?;
    to_python(
        py,
        &serde_json::json!({"effective": caps::names(effective), "bounding": caps::names(bounding)}),
    )
}

/// SECCOMP_RET_ERRNO, linux/seccomp.h: the action that every profile needs.
const RET_ERRNO: u32 = 0x0005_0000;

#[pyfunction]
pub fn seccomp_supported(py: Python<'_>) -> PyResult<bool> {
    job::short(py, || Ok(pyd_sys::seccomp::action_available(RET_ERRNO)))
}
