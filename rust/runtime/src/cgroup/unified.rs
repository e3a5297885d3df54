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

/// The files that move, kill or stop processes are no limits: through them a spec could act on any process.
const NO_LIMITS: [&str; 4] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.freeze",
];

/// `controller.parameter`, which cannot leave the directory.
fn check(key: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    let named = key
        .split_once('.')
        .is_some_and(|(controller, _)| !controller.is_empty());
    if !named || !key.chars().all(word) {
        return Err(Error::invalid(format!(
            "\"{key}\" in linux.resources.unified is not the name of a cgroup file"
        )));
    }
    if NO_LIMITS.contains(&key) {
        return Err(Error::invalid(format!(
            "\"{key}\" in linux.resources.unified is not a limit"
        )));
    }
    Ok(())
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
        check(key)?;
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

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn names_of_files() {
        for good in [
            "memory.high",
            "hugetlb.2MB.max",
            "memory.swap.max",
            "cgroup.max.depth",
        ] {
            check(good).unwrap();
        }
        for bad in [
            "",
            "..",
            ".",
            "memory",
            ".max",
            "../x.y",
            "a/b.c",
            "memory.max\0",
            "cgroup.procs",
            "cgroup.kill",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
