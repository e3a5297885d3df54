//! Files of cgroup v2 that the spec sets by name (`linux.resources.unified`).

use std::collections::HashMap;

use nix::errno::Errno;

use super::place::Places;
use crate::error::{Error, Result};

/// The controllers that the keys need; `cgroup.*` files belong to no controller.
pub(crate) fn controllers(unified: &HashMap<String, String>) -> Vec<&str> {
    unified
        .keys()
        .filter_map(|key| key.split_once('.'))
        .map(|(controller, _)| controller)
        .filter(|controller| *controller != "cgroup")
        .collect()
}

pub(crate) fn apply(places: &Places, unified: &HashMap<String, String>) -> Result<()> {
    if unified.is_empty() {
        return Ok(());
    }
    let Some(group) = &places.v2 else {
        return Err(Error::new(
            "cgroup",
            "linux.resources.unified needs cgroup v2, which is not mounted here",
        )
        .hint("use the other fields of linux.resources, which work on v1 too"));
    };
    for (key, value) in unified {
        if key.contains('/') || !key.contains('.') {
            return Err(Error::invalid(format!(
                "\"{key}\" in linux.resources.unified is not the name of a cgroup file"
            )));
        }
        group.dir.write(key, value).map_err(|errno| {
            let controller = key.split('.').next().unwrap_or(key);
            let absent =
                controller != "cgroup" && !group.controllers.iter().any(|name| name == controller);
            if absent && matches!(errno, Errno::ENOENT | Errno::EACCES | Errno::EPERM) {
                places.missing(controller, key)
            } else {
                group.dir.refused(key, value, errno)
            }
        })?;
    }
    Ok(())
}
