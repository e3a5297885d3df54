//! Opens the groups of a container that exists.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::directory::Dir;
use super::layout::{Hierarchy, Layout};
use super::place::{Places, V1};
use super::{Cgroup, check, v2};
use crate::error::{Error, Result};

impl Cgroup {
    /// Opens the directories that exist for `path`; there may be none.
    pub fn load(path: &str) -> Result<Cgroup> {
        Self::load_below(path, &BTreeMap::new())
    }

    /// The same, for what cannot be done without them.
    pub fn load_present(path: &str) -> Result<Cgroup> {
        Self::load(path)?.present(path)
    }

    /// An error if none of the directories exists.
    pub fn present(self, path: &str) -> Result<Cgroup> {
        match self.exists() {
            true => Ok(self),
            false => Err(Error::new(
                "cgroup",
                format!("the container's control group {path} is gone"),
            )
            .hint("somebody has removed it; kill and delete work without")),
        }
    }

    /// The same, but a group below `path` in the hierarchies whose controllers `below` names; those groups must exist.
    /// The key of version 2, where there are no others, is "".
    pub fn load_below(path: &str, below: &BTreeMap<String, String>) -> Result<Cgroup> {
        check(path)?;
        let layout = Layout::detect()?;
        let open = |hierarchy: &Hierarchy, name: Option<&String>| {
            let full = match name {
                Some(name) => format!("{}/{}", path.trim_end_matches('/'), name.trim_matches('/')),
                None => path.to_owned(),
            };
            check(&full)?;
            let found = Dir::open(hierarchy, full.trim_end_matches('/'))
                .map_err(|errno| Error::at("cgroup", "open", &full, errno))?;
            match (&found, name) {
                (None, Some(_)) => Err(Error::at("cgroup", "open", &full, Errno::ENOENT)),
                _ => Ok(found),
            }
        };
        let mut places = Places::default();
        for hierarchy in &layout.v1 {
            let name = hierarchy.controllers.iter().find_map(|one| below.get(one));
            if let Some(dir) = open(hierarchy, name)? {
                places.v1.push(V1 {
                    controllers: hierarchy.controllers.clone(),
                    dir,
                    tasks: None,
                });
            }
        }
        let known = |name: &String| match name.as_str() {
            "" => layout.v1.is_empty(),
            name => places.v1(name).is_some(),
        };
        if let Some(name) = below.keys().find(|name| !known(name)) {
            return Err(Error::invalid(format!(
                "there is no hierarchy of version 1 with the controller {name:?}"
            )));
        }
        if let Some(hierarchy) = &layout.v2 {
            places.v2 = open(hierarchy, below.get(""))?.map(v2::group);
        }
        Ok(Cgroup {
            places,
            layout: Layout::default(),
            unit: None,
            unit_started: false,
        })
    }
}
