//! The number of processes and threads.

use oci_spec::runtime::LinuxPids;

use super::place::{Place, Places};
use crate::error::Result;

pub(crate) fn apply(places: &Places, pids: &LinuxPids) -> Result<()> {
    let limit = pids.limit();
    if limit <= 0 {
        // Unlimited is also what a missing controller gives.
        let Some(Place::V1(dir) | Place::V2(dir)) = places.find("pids", "pids") else {
            return Ok(());
        };
        return dir.set("pids.max", "max");
    }
    let (Place::V1(dir) | Place::V2(dir)) = places.need("pids", "pids", "limit of processes")?;
    dir.set("pids.max", &limit.to_string())
}
