//! Control groups that systemd makes: one transient scope per container, asked for over D-Bus.
//!
//! systemd owns the tree on machines that it has started, and hands a part of it to a scope with `Delegate=`
//! (systemd.io/CGROUP_DELEGATION). Below that the groups are used as without it; limits are told to systemd and written
//! directly as well (see [`properties`]).

mod annotations;
mod bus;
mod name;
mod properties;
mod wire;

use std::collections::HashMap;
use std::path::Path;

use nix::unistd::geteuid;
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use self::bus::Bus;
use self::properties::{Manager, Property};
use self::wire::Value;
use crate::cgroup::devices::in_user_namespace;
use crate::error::{Error, Result};

/// The scope of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `docker-<id>.scope`
    pub name: String,
    pub slice: String,
    /// Whether it belongs to the systemd of a user, not to that of the system.
    pub user: bool,
    /// Path of its control group, absolute.
    pub path: String,
}

impl Unit {
    /// The unit that `linux.cgroupsPath` (`slice:prefix:name`) asks for; nothing is made yet.
    ///
    /// An error where no systemd can be asked.
    pub fn plan(cgroups_path: &str, id: &str) -> Result<Unit> {
        let user = !geteuid().is_root() || in_user_namespace();
        running(user)?;
        let default = if user { "user.slice" } else { "system.slice" };
        let place = name::parse(cgroups_path, id, default)?;
        let base = match user {
            true => Bus::connect(true)?.property("ControlGroup")?,
            false => String::new(),
        };
        let parts = [base, name::expand(&place.slice)?, place.unit.clone()];
        let parts = parts
            .iter()
            .map(|part| part.trim_matches('/'))
            .filter(|part| !part.is_empty());
        Ok(Unit {
            path: parts.fold(String::new(), |path, part| format!("{path}/{part}")),
            name: place.unit,
            slice: place.slice,
            user,
        })
    }

    /// Makes the scope with `pid` in it, and its limits; returns when it is there.
    pub(crate) fn start(
        &self,
        pid: i32,
        id: &str,
        annotations: &HashMap<String, String>,
        resources: Option<&LinuxResources>,
        v2: bool,
    ) -> Result<()> {
        let extra = annotations::properties(annotations)?;
        let mut bus = Bus::connect(self.user)?;
        let io = if v2 {
            "IOAccounting"
        } else {
            "BlockIOAccounting"
        };
        let mut all: Vec<Property> = vec![
            ("Description", Value::Str(format!("container {id}"))),
            ("Slice", Value::str(&self.slice)),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Array("u", vec![Value::U32(pid as u32)])),
            // So that the controllers are on for the scope, and statistics and later limits work.
            ("MemoryAccounting", Value::Bool(true)),
            ("CPUAccounting", Value::Bool(true)),
            (io, Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
        ];
        if !extra.iter().any(|(name, _)| *name == "DefaultDependencies") {
            // Else the container would be stopped before its engine at a shutdown, and could not run early at boot.
            all.push(("DefaultDependencies", Value::Bool(false)));
        }
        all.extend(extra);
        if let Some(resources) = resources {
            let version = version(&mut bus)?;
            all.extend(properties::of_resources(
                resources,
                Manager { version, v2 },
            )?);
        }
        let body = [
            Value::str(&self.name),
            Value::str("replace"),
            list(all),
            Value::Array("(sa(sv))", Vec::new()),
        ];
        let what = format!("start the unit {}", self.name);
        let mut started = bus.job("StartTransientUnit", &body);
        if started
            .as_ref()
            .is_err_and(|failure| failure.is("UnitExists"))
        {
            // What is left of one whose processes the OOM killer ended: failed units stay until they are reset.
            let _ = bus.manager("ResetFailedUnit", &[Value::str(&self.name)]);
            started = bus.job("StartTransientUnit", &body);
        }
        match started {
            Ok(result) if result == "done" => Ok(()),
            Ok(result) => {
                let _ = bus.manager("ResetFailedUnit", &[Value::str(&self.name)]);
                let error = Error::new(
                    "systemd",
                    format!("systemd could not {what}: the job ended as {result}"),
                );
                Err(error.hint(format!("journalctl -u {} may say why", self.name)))
            }
            Err(failure) if failure.is("UnitExists") => {
                let hint = format!(
                    "another container has it, or systemctl stop {} has to end what is left",
                    self.name
                );
                Err(failure.into_error(&what).hint(hint))
            }
            Err(failure) => Err(failure.into_error(&what)),
        }
    }

    /// Tells systemd the limits that change.
    pub(crate) fn update(&self, resources: &LinuxResources, v2: bool) -> Result<()> {
        let mut bus = Bus::connect(self.user)?;
        let version = version(&mut bus)?;
        let all = properties::of_resources(resources, Manager { version, v2 })?;
        if all.is_empty() {
            return Ok(());
        }
        // True: until the next boot, which is all that a transient unit has.
        let body = [Value::str(&self.name), Value::Bool(true), list(all)];
        let what = format!("set the limits of the unit {}", self.name);
        let set = bus.manager("SetUnitProperties", &body);
        set.map(drop).map_err(|failure| failure.into_error(&what))
    }

    /// Ends the scope and waits for that. One that is not there any more is fine.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut bus = Bus::connect(self.user)?;
        let name = Value::str(&self.name);
        let stopped = match bus.job("StopUnit", &[name.clone(), Value::str("replace")]) {
            Ok(_) => Ok(()),
            Err(failure) if failure.is("NoSuchUnit") => Ok(()),
            Err(failure) => Err(failure.into_error(&format!("stop the unit {}", self.name))),
        };
        // A scope whose processes the OOM killer ended stays behind as failed. Refused for one that is gone.
        let _ = bus.manager("ResetFailedUnit", &[name]);
        stopped
    }
}

/// An address in the environment is as good as systemd's own sign (sd_booted(3)).
fn running(user: bool) -> Result<()> {
    let variable = if user {
        "DBUS_SESSION_BUS_ADDRESS"
    } else {
        "DBUS_SYSTEM_BUS_ADDRESS"
    };
    if Path::new("/run/systemd/system").is_dir() || std::env::var_os(variable).is_some() {
        return Ok(());
    }
    Err(Error::new(
        "systemd",
        "--systemd-cgroup: systemd does not run on this machine (/run/systemd/system is missing)",
    )
    .hint("leave the option out, and the control groups are made directly")
    .exit(1))
}

/// `252` of `252.39-1~deb12u1` or `v252-1`.
fn version(bus: &mut Bus) -> Result<u32> {
    let text = bus.property("Version")?;
    let digits = text.trim_start_matches('v');
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let number = digits[..end].parse();
    number.map_err(|_| Error::new("systemd", format!("systemd tells no version: {text:?}")))
}

/// `a(sv)`
fn list(properties: Vec<Property>) -> Value {
    let pair = |(name, value): Property| {
        Value::Struct(vec![Value::str(name), Value::Variant(Box::new(value))])
    };
    Value::Array("(sv)", properties.into_iter().map(pair).collect())
}
