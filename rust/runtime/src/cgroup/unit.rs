//! The groups of a container in a unit of systemd's: made by it, used like others.

use std::collections::HashMap;

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;

use super::devices::Group;
use super::directory::Dir;
use super::layout::{Hierarchy, Layout};
use super::place::{Places, V1, V2};
use super::{Cgroup, Unit, make_v1, v2};
use crate::error::Result;

impl Cgroup {
    /// The groups of a unit that systemd is going to make, once there is a process to be in it: see
    /// [`Self::start_unit`]. Until then nothing exists but [`Self::layout`].
    pub fn planned(unit: Unit) -> Result<Cgroup> {
        let mut layout = Layout::detect()?;
        for hierarchy in layout.v1.iter_mut().chain(&mut layout.v2) {
            hierarchy.own.clone_from(&unit.path);
        }
        Ok(Cgroup {
            places: Places::default(),
            layout,
            unit: Some(unit),
            unit_started: false,
        })
    }

    /// Has systemd make the unit around `pid`, moves it into the groups that systemd does not know, sets the limits.
    /// On an error [`Self::remove`] takes back what was made.
    pub fn start_unit(
        &mut self,
        pid: i32,
        id: &str,
        annotations: &HashMap<String, String>,
        resources: Option<&LinuxResources>,
    ) -> Result<()> {
        let Some(unit) = &self.unit else {
            return Ok(());
        };
        unit.start(pid, id, annotations, resources, self.layout.v1.is_empty())?;
        let path = unit.path.clone();
        self.unit_started = true;
        for hierarchy in self.layout.v1.clone() {
            match open_or_make_v1(&hierarchy, &path) {
                Ok(dir) => self.places.v1.push(V1 {
                    controllers: hierarchy.controllers.clone(),
                    dir,
                    tasks: None,
                }),
                Err(errno) => {
                    self.skip_or_fail(&hierarchy.controllers, &hierarchy, &path, errno)?;
                }
            }
        }
        if let Some(hierarchy) = self.layout.v2.clone() {
            let wanted = v2::wanted(&self.layout, resources);
            match open_or_make_v2(&hierarchy, &path, wanted) {
                Ok(group) => self.places.v2 = Some(group),
                Err(errno) => {
                    self.skip_or_fail(&hierarchy.controllers, &hierarchy, &path, errno)?;
                }
            }
        }
        self.add(pid)?;
        resources.map_or(Ok(()), |wanted| self.limit(wanted, Group::New))
    }

    /// See [`Self::planned`].
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    /// Says that systemd has made this group.
    #[must_use]
    pub fn of_unit(mut self, unit: Option<Unit>) -> Cgroup {
        self.unit_started = unit.is_some();
        self.unit = unit;
        self
    }

    /// On v1 systemd denies every device for a moment when it sets device rules: nobody may run meanwhile.
    pub(super) fn update_unit(&self, unit: &Unit, resources: &LinuxResources) -> Result<()> {
        let v2 = self.places.v1.is_empty();
        let rules = resources
            .devices()
            .as_ref()
            .is_some_and(|rules| !rules.is_empty());
        if v2 || !rules || self.is_frozen() {
            return unit.update(resources, v2);
        }
        self.freeze()?;
        let updated = unit.update(resources, v2);
        self.thaw()?;
        updated
    }
}

/// systemd has made some of the directories and put the process there.
fn open_or_make_v1(hierarchy: &Hierarchy, path: &str) -> nix::Result<Dir> {
    match make_v1(hierarchy, path) {
        Ok((dir, _)) => Ok(dir),
        Err(Errno::EBUSY) => Dir::open(hierarchy, path)?.ok_or(Errno::ENOENT),
        Err(errno) => Err(errno),
    }
}

fn open_or_make_v2(hierarchy: &Hierarchy, path: &str, wanted: Vec<String>) -> nix::Result<V2> {
    if let Some(group) = v2::open(hierarchy, path)? {
        return Ok(group);
    }
    v2::create(hierarchy, path, wanted).map(|(group, _)| group)
}
