//! Where one controller of one container lives: a v1 directory, a v2 directory, or nowhere.

use std::os::fd::OwnedFd;

use super::directory::Dir;
use crate::error::{Error, Result};

/// A v1 directory and the controllers of its hierarchy.
#[derive(Debug)]
pub(crate) struct V1 {
    pub(crate) controllers: Vec<String>,
    pub(crate) dir: Dir,
    /// See [`Dir::open_tasks`]; open from the making of the group until init is in it.
    pub(crate) tasks: Option<OwnedFd>,
}

/// The v2 directory and the controllers that are enabled in it.
#[derive(Debug)]
pub(crate) struct V2 {
    pub(crate) controllers: Vec<String>,
    pub(crate) dir: Dir,
}

/// Which of the two interfaces a controller's directory has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    V1(&'a Dir),
    V2(&'a Dir),
}

/// All directories of one container.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) v1: Vec<V1>,
    pub(crate) v2: Option<V2>,
    /// Controllers whose directory could not be made, and why: `memory: permission denied`.
    pub(crate) skipped: Vec<String>,
}

impl Places {
    pub(crate) fn v1(&self, controller: &str) -> Option<&Dir> {
        self.v1
            .iter()
            .find(|group| group.controllers.iter().any(|name| name == controller))
            .map(|group| &group.dir)
    }

    /// On v2 the controller `io` does what v1 calls `blkio`, and `cpu` also accounts.
    pub(crate) fn find(&self, v1: &str, v2: &str) -> Option<Place<'_>> {
        if let Some(dir) = self.v1(v1) {
            return Some(Place::V1(dir));
        }
        self.v2
            .as_ref()
            .filter(|group| group.controllers.iter().any(|name| name == v2))
            .map(|group| Place::V2(&group.dir))
    }

    /// The same for a limit that was asked for: its absence is an error.
    pub(crate) fn need(&self, v1: &str, v2: &str, limit: &str) -> Result<Place<'_>> {
        self.find(v1, v2).ok_or_else(|| self.missing(v2, limit))
    }

    pub(crate) fn missing(&self, controller: &str, limit: &str) -> Error {
        let reason = self
            .skipped
            .iter()
            .find_map(|skipped| skipped.strip_prefix(controller)?.strip_prefix(": "));
        let error = Error::new(
            "cgroup",
            match reason {
                Some(reason) => format!(
                    "cannot set the {limit}: the {controller} controller is not usable here ({reason})"
                ),
                None => format!(
                    "cannot set the {limit}: the {controller} controller is not available here"
                ),
            },
        );
        error.hint(if reason.is_some() {
            "run as root, or have the control group delegated to this user; else leave the option out"
        } else {
            "enable the controller (kernel option, cgroup_enable= or systemd's Delegate=), or leave the option out"
        })
    }
}

/// A number for v2, where unlimited is the word `max`.
pub(crate) fn max_or(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}
