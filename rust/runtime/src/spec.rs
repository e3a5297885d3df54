//! Reading and checking `config.json`.

pub use oci_spec::runtime::*;
