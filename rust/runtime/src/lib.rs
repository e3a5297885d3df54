//! Life of one container: an OCI runtime as a library, and the `pyd-runtime` program over it.
#![forbid(unsafe_code)]

pub mod capabilities;
pub mod cgroup;
pub mod cgroup_mount;
pub mod cli;
pub mod command;
pub mod copy_up;
pub mod create;
pub mod devices;
pub mod error;
pub mod exec;
pub mod hooks;
pub mod idmap;
pub mod init;
pub mod launch;
pub mod masks;
pub mod mount_options;
pub mod mounts;
pub mod move_root;
pub mod procfs;
pub mod rlimits;
pub mod rootfs;
pub mod seal;
pub mod seccomp;
pub mod shim;
pub mod spawn;
pub mod spec;
pub mod state;
pub mod sync;
pub mod sysctl;
pub mod terminal;
pub mod tini;
pub mod unsupported;
pub mod user;
pub mod weakness;
