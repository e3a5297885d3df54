//! Which device nodes a container may make, read and write.
//!
//! The spec gives an ordered list of rules. v1 has the same notion: a default, and exceptions to it. On v2 the rules
//! become a BPF program (see `device_program`). Both start from the same [`Policy`].

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use pyd_sys::bpf;

use super::device_program;
use super::directory::Dir;
use super::place::Places;
use crate::error::{Error, Result};

pub(crate) const MKNOD: u8 = 1;
pub(crate) const READ: u8 = 2;
pub(crate) const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// Block or character devices; a number of None means every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) block: bool,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
    /// Bits [`MKNOD`], [`READ`], [`WRITE`].
    pub(crate) access: u8,
}

/// What holds for every device, and the devices for which the opposite holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) allow: bool,
    pub(crate) exceptions: Vec<Exception>,
}

/// Whether the rules are for a new group or for one with processes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    New,
    Running,
}

pub(crate) fn apply(places: &Places, rules: &[LinuxDeviceCgroup], group: Group) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let policy = Policy::from_rules(rules)?;
    if let Some(dir) = places.v1("devices") {
        return match group {
            Group::New => apply_v1(dir, &policy),
            Group::Running => update_v1(dir, &policy),
        };
    }
    let attached = match &places.v2 {
        Some(v2) => attach(v2.dir.fd(), &policy),
        None => Err(places.missing("devices", "device rules")),
    };
    match attached {
        // There the kernel itself refuses mknod and real devices, so nothing is lost.
        Err(_) if in_user_namespace() => Ok(()),
        other => other,
    }
}

impl Policy {
    /// The state after all rules, applied in order to a group that allows everything.
    pub(crate) fn from_rules(rules: &[LinuxDeviceCgroup]) -> Result<Policy> {
        let mut policy = Policy {
            allow: true,
            exceptions: Vec::new(),
        };
        for rule in rules {
            let access = access_of(rule)?;
            let number = |n: Option<i64>| n.filter(|n| *n >= 0).map(|n| n as u32);
            let (major, minor) = (number(rule.major()), number(rule.minor()));
            let kinds: &[bool] = match rule.typ() {
                None | Some(LinuxDeviceType::A) => {
                    if (major, minor, access) == (None, None, ALL) {
                        policy.allow = rule.allow();
                        policy.exceptions.clear();
                        continue;
                    }
                    &[true, false]
                }
                Some(LinuxDeviceType::B) => &[true],
                Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[false],
                Some(LinuxDeviceType::P) => {
                    return Err(Error::invalid(
                        "a FIFO is no device: device rules are of type a, b or c",
                    ));
                }
            };
            for block in kinds {
                policy.add(
                    rule.allow(),
                    Exception {
                        block: *block,
                        major,
                        minor,
                        access,
                    },
                )?;
            }
        }
        Ok(policy)
    }

    fn add(&mut self, allow: bool, rule: Exception) -> Result<()> {
        let same =
            |e: &Exception| (e.block, e.major, e.minor) == (rule.block, rule.major, rule.minor);
        if allow != self.allow {
            match self.exceptions.iter_mut().find(|e| same(e)) {
                Some(exception) => exception.access |= rule.access,
                None => self.exceptions.push(rule),
            }
            return Ok(());
        }
        // Back to the default. Cutting one device out of a wider exception cannot be expressed on v1, and ignoring it
        // would leave the device open.
        let overlaps = |e: &Exception| {
            let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
            e.block == rule.block
                && e.access & rule.access != 0
                && meet(e.major, rule.major)
                && meet(e.minor, rule.minor)
        };
        let within = |e: &Exception| {
            (rule.major.is_none() || e.major == rule.major)
                && (rule.minor.is_none() || e.minor == rule.minor)
        };
        for exception in self.exceptions.iter_mut().filter(|e| overlaps(e)) {
            if !within(exception) {
                return Err(Error::invalid(format!(
                    "the device rule \"{}\" takes back a part of the earlier rule \"{}\", which cgroups cannot do",
                    rule.text(),
                    exception.text()
                ))
                .hint("put the narrower devices in rules of their own"));
            }
            exception.access &= !rule.access;
        }
        self.exceptions.retain(|e| e.access != 0);
        Ok(())
    }

    /// `devices.list` of v1. A group that allows by default does not show its exceptions.
    fn parse_list(list: &str) -> Option<Policy> {
        let mut policy = Policy {
            allow: false,
            exceptions: Vec::new(),
        };
        for line in list.lines() {
            let mut fields = line.split([' ', ':']);
            let (kind, major, minor, access) = (
                fields.next()?,
                fields.next()?,
                fields.next()?,
                fields.next()?,
            );
            if kind == "a" {
                policy.allow = true;
                return Some(policy);
            }
            let number = |text: &str| match text {
                "*" => Some(None),
                number => number.parse().ok().map(Some),
            };
            policy.exceptions.push(Exception {
                block: kind == "b",
                major: number(major)?,
                minor: number(minor)?,
                access: parse_access(access)?,
            });
        }
        Some(policy)
    }
}

impl Exception {
    /// As v1 writes it: `c 1:3 rwm`.
    fn text(&self) -> String {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        format!(
            "{} {}:{} {}",
            if self.block { 'b' } else { 'c' },
            number(self.major),
            number(self.minor),
            self.letters()
        )
    }

    /// `rwm`, or a part of it.
    pub(crate) fn letters(&self) -> String {
        let all = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        all.iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .map(|(_, letter)| letter)
            .collect()
    }
}

fn access_of(rule: &LinuxDeviceCgroup) -> Result<u8> {
    let text = rule.access().as_deref().unwrap_or_default();
    if text.is_empty() && !rule.allow() {
        return Ok(ALL);
    }
    parse_access(text)
        .filter(|access| *access != 0)
        .ok_or_else(|| {
            Error::invalid(format!(
                "\"{text}\" is no device access: use letters of \"rwm\""
            ))
        })
}

fn parse_access(text: &str) -> Option<u8> {
    text.bytes().try_fold(0, |access, letter| match letter {
        b'r' => Some(access | READ),
        b'w' => Some(access | WRITE),
        b'm' => Some(access | MKNOD),
        _ => None,
    })
}

fn file_for(allow: bool) -> &'static str {
    if allow {
        "devices.allow"
    } else {
        "devices.deny"
    }
}

fn apply_v1(dir: &Dir, policy: &Policy) -> Result<()> {
    dir.set(file_for(policy.allow), "a")?;
    for exception in &policy.exceptions {
        dir.set(file_for(!policy.allow), &exception.text())?;
    }
    Ok(())
}

/// Goes from the present rules to the wanted ones without denying, even for a moment, what both allow.
fn update_v1(dir: &Dir, policy: &Policy) -> Result<()> {
    let current = dir
        .read("devices.list")
        .ok()
        .and_then(|list| Policy::parse_list(&list));
    let Some(current) = current.filter(|current| !current.allow && !policy.allow) else {
        return apply_v1(dir, policy);
    };
    for exception in policy
        .exceptions
        .iter()
        .filter(|e| !current.exceptions.contains(e))
    {
        dir.set("devices.allow", &exception.text())?;
    }
    for old in &current.exceptions {
        let same =
            |e: &&Exception| (e.block, e.major, e.minor) == (old.block, old.major, old.minor);
        let kept = policy.exceptions.iter().find(same).map_or(0, |e| e.access);
        let access = old.access & !kept;
        if access != 0 {
            dir.set("devices.deny", &Exception { access, ..*old }.text())?;
        }
    }
    Ok(())
}

/// Loads the program of the policy and puts it in the place of the one that is attached.
fn attach(group: BorrowedFd<'_>, policy: &Policy) -> Result<()> {
    let refused = |op: &str, errno: Errno| {
        let error = Error::os("cgroup", op, errno).context("cannot limit devices");
        match errno {
            Errno::EPERM => error.hint("device rules on cgroup v2 need CAP_BPF or CAP_SYS_ADMIN, and before Linux 5.11 enough of \"ulimit -l\""),
            Errno::ENOSYS | Errno::EINVAL => error.hint("device rules on cgroup v2 need a kernel with CONFIG_CGROUP_BPF (4.15 or later)"),
            _ => error,
        }
    };
    let program = bpf::load_device_program(&device_program::compile(policy))
        .map_err(|errno| refused("bpf(PROG_LOAD)", errno))?;
    let old = bpf::device_programs(group).unwrap_or_default();
    if let [old] = old.as_slice()
        && bpf::attach_device_program(group, &program, Some(old)).is_ok()
    {
        return Ok(());
    }
    // Several programs, or a kernel that cannot replace (before 5.6). All attached programs must allow, so the new one
    // comes first: at no moment is anything open that either forbids.
    bpf::attach_device_program(group, &program, None)
        .map_err(|errno| refused("bpf(PROG_ATTACH)", errno))?;
    for old in &old {
        bpf::detach_device_program(group, old)
            .map_err(|errno| refused("bpf(PROG_DETACH)", errno))?;
    }
    Ok(())
}

/// The initial user namespace maps every id to itself, in one line.
pub(crate) fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().ne(["0", "0", "4294967295"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> Result<Policy> {
        Policy::from_rules(&serde_json::from_str::<Vec<LinuxDeviceCgroup>>(json).unwrap())
    }

    fn texts(policy: &Policy) -> Vec<String> {
        policy.exceptions.iter().map(Exception::text).collect()
    }

    #[test]
    fn docker_like_rules() {
        let policy = policy(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","access":"m"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"m"},
                {"allow":true,"type":"c","major":136,"minor":-1,"access":"rwm"}]"#,
        )
        .unwrap();
        assert!(!policy.allow);
        assert_eq!(texts(&policy), ["c *:* m", "c 1:3 rwm", "c 136:* rwm"]);
    }

    #[test]
    fn later_rules_take_back_earlier_ones() {
        let p = policy(
            r#"[{"allow":false},{"allow":true,"type":"c","major":10,"minor":200,"access":"rwm"},
                {"allow":false,"type":"c","major":10,"access":"w"}]"#,
        )
        .unwrap();
        assert_eq!(texts(&p), ["c 10:200 rm"]);
        let privileged =
            policy(r#"[{"allow":false},{"allow":true,"type":"a","access":"rwm"}]"#).unwrap();
        assert_eq!((privileged.allow, privileged.exceptions.len()), (true, 0));
    }

    #[test]
    fn what_cannot_be_expressed_is_refused() {
        let narrower = r#"[{"allow":false},{"allow":true,"type":"c","access":"rwm"},
                           {"allow":false,"type":"c","major":1,"minor":1,"access":"rwm"}]"#;
        assert!(policy(narrower).is_err());
        assert!(policy(r#"[{"allow":true,"type":"c","access":"rx"}]"#).is_err());
        assert!(policy(r#"[{"allow":true,"type":"c","major":1}]"#).is_err());
    }

    #[test]
    fn list_round_trip() {
        let list = "c 1:3 rwm\nb *:* m\nc 136:* rw\n";
        let policy = Policy::parse_list(list).unwrap();
        assert_eq!(texts(&policy), ["c 1:3 rwm", "b *:* m", "c 136:* rw"]);
        assert!(Policy::parse_list("a *:* rwm\n").unwrap().allow);
    }
}
