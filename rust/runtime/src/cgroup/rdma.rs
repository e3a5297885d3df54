//! Limits of RDMA devices: the same file on v1 and v2.

use std::collections::HashMap;

use oci_spec::runtime::LinuxRdma;

use super::place::{Place, Places};
use crate::error::Result;

pub(crate) fn apply(places: &Places, limits: &HashMap<String, LinuxRdma>) -> Result<()> {
    for (device, limit) in limits {
        let (Place::V1(dir) | Place::V2(dir)) = places.need("rdma", "rdma", "limit of RDMA")?;
        let mut value = device.clone();
        for (key, number) in [
            ("hca_handle", limit.hca_handles()),
            ("hca_object", limit.hca_objects()),
        ] {
            if let Some(number) = number {
                value.push_str(&format!(" {key}={number}"));
            }
        }
        dir.set("rdma.max", &value)?;
    }
    Ok(())
}
