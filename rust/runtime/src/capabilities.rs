//! Linux capabilities of the container's process: what the spec asks for, cut to what this host can give.
//!
//! The order in the child matters and is the caller's to keep (capabilities(7)):
//! [`CapSets::drop_bounding`] needs CAP_SETPCAP and so comes before the change of user;
//! [`keep_on_setuid`] saves the permitted set over that change; [`CapSets::apply`] follows it.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, Spec};
use pyd_sys::caps;

use crate::error::{Error, Result};
use crate::weakness;

// A file of its own, because build.rs needs it too.
#[path = "capability_names.rs"]
mod names;

pub use names::NAMES;

/// The five capability sets of a process, as bit masks (bit n = capability number n).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapSets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
    /// Asked for but not in this process's bounding set, hence left out: worth one warning.
    pub missing: u64,
}

impl CapSets {
    /// The spec's sets, each cut to this process's bounding set. No `capabilities` in the spec means none at all.
    pub fn from_spec(wanted: Option<&LinuxCapabilities>) -> Result<CapSets> {
        Ok(wanted.map_or_else(CapSets::default, |wanted| {
            Self::within(wanted, caps::bounding())
        }))
    }

    fn within(wanted: &LinuxCapabilities, available: u64) -> CapSets {
        let set = |caps: &Option<Capabilities>| caps.as_ref().map_or(0, mask);
        let asked = [
            set(wanted.bounding()),
            set(wanted.effective()),
            set(wanted.permitted()),
            set(wanted.inheritable()),
            set(wanted.ambient()),
        ];
        let permitted = asked[2] & available;
        let inheritable = match weakness::is("inheritable-capabilities") {
            true => permitted,
            false => asked[3] & available,
        };
        CapSets {
            bounding: asked[0] & available,
            // capset(2) refuses an effective set that is not within the permitted one; the ambient set must be
            // within permitted and inheritable.
            effective: asked[1] & permitted,
            permitted,
            inheritable,
            ambient: asked[4] & permitted & inheritable,
            missing: asked.iter().fold(0, |all, set| all | set) & !available,
        }
    }

    /// Drops everything outside `bounding` from the bounding set. Needs CAP_SETPCAP: before the change of user.
    pub fn drop_bounding(&self) -> Result<()> {
        caps::drop_bounding(self.bounding).map_err(|errno| {
            Error::os("capabilities", "drop the bounding set", errno)
                .hint("the runtime needs CAP_SETPCAP to give a container fewer capabilities")
        })
    }

    /// Sets permitted, effective, inheritable and ambient: after the change of user, made with keepcaps.
    pub fn apply(&self) -> Result<()> {
        caps::set(self.effective, self.permitted, self.inheritable).map_err(|errno| {
            Error::os("capabilities", "capset", errno)
                .hint("the spec asks for capabilities that the runtime itself does not have")
        })?;
        caps::set_ambient(self.ambient)
            .map_err(|errno| Error::os("capabilities", "set the ambient set", errno))
    }
}

/// Keeps the permitted set over the following setuid(2). execve clears the flag by itself.
pub fn keep_on_setuid() -> Result<()> {
    caps::keep_on_setuid(true)
        .map_err(|errno| Error::os("capabilities", "prctl(PR_SET_KEEPCAPS)", errno))
}

/// The bit mask of a set of the spec.
pub fn mask(caps: &Capabilities) -> u64 {
    caps.iter().fold(0, |mask, cap| mask | 1 << number(*cap))
}

/// The names in a mask, in the order of their numbers; unnamed bits are left out.
pub fn names(mask: u64) -> Vec<&'static str> {
    NAMES
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

/// The mask of names: with or without `CAP_`, in any case, `ALL` for every one that this build knows.
pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<u64> {
    names.iter().try_fold(0, |mask, name| {
        let upper = name.as_ref().to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if short == "ALL" {
            return Ok((1 << NAMES.len()) - 1);
        }
        match NAMES.iter().position(|known| &known[4..] == short) {
            Some(bit) => Ok(mask | 1 << bit),
            None => Err(Error::new(
                "capabilities",
                format!("unknown capability: \"{}\"", name.as_ref()),
            )
            .hint("capabilities(7) lists the names")),
        }
    })
}

/// The bounding set that a container of this spec will have.
pub fn bounding_of(spec: &Spec) -> u64 {
    spec.process()
        .as_ref()
        .and_then(|process| process.capabilities().as_ref())
        .and_then(|caps| caps.bounding().as_ref())
        .map_or(0, mask)
}

/// `(effective, bounding)` of this process, for `pyd doctor`.
pub fn own() -> Result<(u64, u64)> {
    let (effective, _, _) =
        caps::get().map_err(|errno| Error::os("capabilities", "capget", errno))?;
    Ok((effective, caps::bounding()))
}

fn number(cap: Capability) -> usize {
    // The enumeration is in alphabetical order and prints the name without its prefix.
    let name = cap.to_string();
    let short = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES
        .iter()
        .position(|known| &known[4..] == short)
        .expect("every variant of the spec's enumeration is in capability.h")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> LinuxCapabilities {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn every_name_parses_in_every_spelling() {
        for (bit, name) in NAMES.iter().enumerate() {
            for spelling in [
                (*name).to_owned(),
                name.to_lowercase(),
                name[4..].to_owned(),
            ] {
                assert_eq!(parse(&[&spelling]).unwrap(), 1 << bit, "{spelling}");
                let caps = spec(&format!(r#"{{"bounding":["{spelling}"]}}"#));
                assert_eq!(mask(caps.bounding().as_ref().unwrap()), 1 << bit);
            }
        }
        assert_eq!(parse(&["all"]).unwrap().count_ones() as usize, NAMES.len());
        assert!(
            parse(&["CAP_SYS_ADMINISTRATOR"])
                .unwrap_err()
                .message
                .contains("unknown")
        );
        assert_eq!(names(0b100001), ["CAP_CHOWN", "CAP_KILL"]);
    }

    #[test]
    fn unknown_names_in_a_spec_are_refused() {
        assert!(serde_json::from_str::<LinuxCapabilities>(r#"{"bounding":["CAP_NOPE"]}"#).is_err());
    }

    #[test]
    fn what_the_host_lacks_is_left_out_and_named() {
        let all = r#"["CAP_CHOWN","CAP_KILL","CAP_SYS_RESOURCE"]"#;
        let wanted = spec(&format!(
            r#"{{"bounding":{all},"effective":{all},"permitted":{all}}}"#
        ));
        let available = !(1 << 24);
        let sets = CapSets::within(&wanted, available);
        assert_eq!(names(sets.bounding), ["CAP_CHOWN", "CAP_KILL"]);
        assert_eq!(sets.effective, sets.permitted);
        assert_eq!(names(sets.missing), ["CAP_SYS_RESOURCE"]);
        assert_eq!((sets.inheritable, sets.ambient), (0, 0));
    }

    #[test]
    fn ambient_stays_within_permitted_and_inheritable() {
        let wanted = spec(
            r#"{"permitted":["CAP_KILL"],"effective":["CAP_KILL","CAP_CHOWN"],"ambient":["CAP_KILL"]}"#,
        );
        let sets = CapSets::within(&wanted, u64::MAX);
        assert_eq!(names(sets.effective), ["CAP_KILL"]);
        assert_eq!(sets.ambient, 0);
    }
}
