//! Class and priorities of network packets: v1 only, in hierarchies that few machines mount.

use oci_spec::runtime::LinuxNetwork;

use super::place::Places;
use crate::error::Result;

pub(crate) fn apply(places: &Places, network: &LinuxNetwork) -> Result<()> {
    if let Some(class) = network.class_id().filter(|n| *n != 0) {
        let dir = places
            .v1("net_cls")
            .ok_or_else(|| places.missing("net_cls", "class of network packets"))?;
        dir.set("net_cls.classid", &class.to_string())?;
    }
    for priority in network.priorities().as_deref().unwrap_or_default() {
        let dir = places
            .v1("net_prio")
            .ok_or_else(|| places.missing("net_prio", "priority of network packets"))?;
        let value = format!("{} {}", priority.name(), priority.priority());
        dir.set("net_prio.ifpriomap", &value)?;
    }
    Ok(())
}
