//! Docker's profile format: the spec's rules, plus conditions under which each of them is there at all.
//!
//! <https://docs.docker.com/engine/security/seccomp/>; the meaning of the conditions follows moby's resolver.

use serde::Deserialize;

use super::{Arch, Condition, Op, Policy, Rule, action};

/// pyd's default profile: Docker's decisions, in pyd's own arrangement.
pub const DEFAULT: &str = include_str!("../default.json");

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile<'a> {
    #[serde(borrow)]
    default_action: &'a str,
    default_errno_ret: Option<u32>,
    #[serde(default, borrow)]
    arch_map: Vec<ArchMap<'a>>,
    #[serde(default, borrow)]
    syscalls: Vec<Entry<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap<'a> {
    architecture: &'a str,
    #[serde(borrow)]
    sub_architectures: Option<Vec<&'a str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    action: &'a str,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Argument<'a>>,
    #[serde(default, borrow)]
    includes: Filter<'a>,
    #[serde(default, borrow)]
    excludes: Filter<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument<'a> {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: &'a str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter<'a> {
    #[serde(default, borrow)]
    caps: Vec<&'a str>,
    #[serde(default, borrow)]
    arches: Vec<&'a str>,
    min_kernel: Option<&'a str>,
}

/// What a profile is resolved for.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    pub arch: Arch,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
    /// The container's bounding set: bit n for the capability that `capabilities[n]` names.
    pub bounding: u64,
    pub capabilities: &'a [&'a str],
}

impl Host<'_> {
    fn has(&self, capability: &str) -> bool {
        bit(self.capabilities, capability).is_some_and(|bit| self.bounding & bit != 0)
    }
}

fn bit(capabilities: &[&str], name: &str) -> Option<u64> {
    capabilities
        .iter()
        .position(|known| *known == name)
        .map(|index| 1 << index)
}

impl<'a> Profile<'a> {
    pub fn parse(json: &'a str) -> Result<Profile<'a>, String> {
        serde_json::from_str(json)
            .map_err(|error| format!("the seccomp profile is not valid: {error}"))
    }

    /// The capabilities that make a difference to this profile.
    #[allow(dead_code)] // build.rs uses it
    pub fn relevant(&self, capabilities: &[&str]) -> u64 {
        let filters = self
            .syscalls
            .iter()
            .flat_map(|entry| [&entry.includes, &entry.excludes]);
        filters
            .flat_map(|filter| &filter.caps)
            .filter_map(|name| bit(capabilities, name))
            .fold(0, |all, bit| all | bit)
    }

    #[allow(dead_code)] // build.rs uses it
    /// The newest kernel that a condition names: above it the kernel makes no difference.
    pub fn newest_kernel(&self) -> (u32, u32) {
        let filters = self
            .syscalls
            .iter()
            .flat_map(|entry| [&entry.includes, &entry.excludes]);
        filters
            .filter_map(|filter| parse_kernel(filter.min_kernel?))
            .max()
            .unwrap_or((0, 0))
    }

    /// The rules that are there on this host for a container with these capabilities.
    pub fn resolve(&self, host: &Host<'_>) -> Result<Policy<'a>, String> {
        let arches = self
            .arch_map
            .iter()
            .find(|map| map.architecture == host.arch.name());
        let arches = arches.map_or_else(Vec::new, |map| {
            let sub = map.sub_architectures.as_deref().unwrap_or_default();
            sub.iter()
                .filter_map(|name| Arch::from_name(name))
                .collect()
        });
        let mut rules = Vec::new();
        for entry in &self.syscalls {
            if !entry.applies(host)? {
                continue;
            }
            rules.push(Rule {
                names: entry.names.clone(),
                action: parse_action(entry.action, entry.errno_ret)?,
                conditions: entry
                    .args
                    .iter()
                    .map(Argument::parse)
                    .collect::<Result<_, _>>()?,
            });
        }
        Ok(Policy {
            default: parse_action(self.default_action, self.default_errno_ret)?,
            arches,
            rules,
        })
    }
}

impl Entry<'_> {
    /// All of `includes` must hold and none of `excludes`; several capabilities in `includes` are all needed.
    fn applies(&self, host: &Host<'_>) -> Result<bool, String> {
        let arch = |filter: &Filter<'_>| filter.arches.contains(&host.arch.docker_name());
        let kernel = |filter: &Filter<'_>| match filter.min_kernel {
            None => Ok(None),
            Some(version) => match parse_kernel(version) {
                Some(version) => Ok(Some(host.kernel >= version)),
                None => Err(format!("\"{version}\" is no kernel version like 4.8")),
            },
        };
        let excluded = arch(&self.excludes)
            || self.excludes.caps.iter().any(|cap| host.has(cap))
            || kernel(&self.excludes)? == Some(true);
        let included = (self.includes.arches.is_empty() || arch(&self.includes))
            && self.includes.caps.iter().all(|cap| host.has(cap))
            && kernel(&self.includes)? != Some(false);
        Ok(included && !excluded)
    }
}

impl Argument<'_> {
    fn parse(&self) -> Result<Condition, String> {
        if self.index > 5 {
            return Err(format!("a system call has no argument {}", self.index));
        }
        Ok(Condition {
            argument: self.index,
            op: match self.op {
                "SCMP_CMP_NE" => Op::NotEqual,
                "SCMP_CMP_LT" => Op::Less,
                "SCMP_CMP_LE" => Op::LessOrEqual,
                "SCMP_CMP_EQ" => Op::Equal,
                "SCMP_CMP_GE" => Op::GreaterOrEqual,
                "SCMP_CMP_GT" => Op::Greater,
                "SCMP_CMP_MASKED_EQ" => Op::MaskedEqual,
                other => return Err(format!("\"{other}\" is no seccomp operator")),
            },
            value: self.value,
            value_two: self.value_two,
        })
    }
}

fn parse_kernel(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Errors and traces carry a number of 16 bits, EPERM if none is given.
pub fn parse_action(name: &str, number: Option<u32>) -> Result<u32, String> {
    let data = number.unwrap_or(1);
    if data > 0xffff {
        return Err(format!("errnoRet {data} does not fit into 16 bits"));
    }
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => action::TRAP,
        "SCMP_ACT_ERRNO" => action::ERRNO | data,
        "SCMP_ACT_TRACE" => action::TRACE | data,
        "SCMP_ACT_LOG" => action::LOG,
        "SCMP_ACT_ALLOW" => action::ALLOW,
        "SCMP_ACT_NOTIFY" => 0x7fc0_0000,
        other => return Err(format!("\"{other}\" is no seccomp action")),
    })
}
