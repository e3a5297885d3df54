//! Life of one container: an OCI runtime as a library, and the `pyd-runtime` program over it.
#![forbid(unsafe_code)]

pub mod create;
pub mod error;
pub mod exec;
pub mod spec;
pub mod capabilities;
pub mod cgroup;
pub mod seccomp;
pub mod shim;
