//! NUMA policy of a container's memory (`linux.memoryPolicy`; `set_mempolicy(2)`).

use nix::errno::Errno;
use pyd_sys::process;

use crate::error::{Error, Result};
use crate::number_list;
use crate::spec::{LinuxMemoryPolicy, MemoryPolicyFlagType, MemoryPolicyModeType};

/// `MAX_NUMNODES` of the largest kernel configuration: no node has a higher number.
const NODES: u32 = 1 << 10;

/// A policy as the kernel takes it. It is inherited over fork and execve, so one call covers the container.
#[derive(Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    mode: i32,
    nodes: Vec<u64>,
}

impl MemoryPolicy {
    /// Checks the combination, which the kernel would refuse with a bare EINVAL.
    pub fn parse(policy: &LinuxMemoryPolicy) -> Result<Self> {
        let text = policy.nodes().as_deref().unwrap_or("");
        let nodes = match text {
            "" => None,
            text => Some(number_list::parse(text, NODES).map_err(|why| {
                Error::invalid(format!("linux.memoryPolicy.nodes \"{text}\": {why}"))
            })?),
        };
        use MemoryPolicyModeType as Mode;
        let (mode, needs_nodes) = match policy.mode() {
            Mode::MpolDefault => (0, Some(false)),
            Mode::MpolPreferred => (1, None),
            Mode::MpolBind => (2, Some(true)),
            Mode::MpolInterleave => (3, Some(true)),
            Mode::MpolLocal => (4, Some(false)),
            Mode::MpolPreferredMany => (5, Some(true)),
            Mode::MpolWeightedInterleave => (6, Some(true)),
        };
        if needs_nodes.is_some_and(|needs| needs != nodes.is_some()) {
            return Err(Error::invalid(format!(
                "linux.memoryPolicy.nodes: {} with {}",
                if nodes.is_some() {
                    "is not allowed"
                } else {
                    "is needed"
                },
                policy.mode()
            )));
        }
        let mut flags = 0;
        for flag in policy.flags().iter().flatten() {
            flags |= match flag {
                MemoryPolicyFlagType::MpolFStaticNodes => STATIC,
                MemoryPolicyFlagType::MpolFRelativeNodes => RELATIVE,
                MemoryPolicyFlagType::MpolFNumaBalancing => BALANCING,
            };
        }
        let wrong = if flags & STATIC != 0 && flags & RELATIVE != 0 {
            Some("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other")
        } else if flags & (STATIC | RELATIVE) != 0 && nodes.is_none() {
            Some(
                "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES are about nodes, and none are given",
            )
        } else if flags & BALANCING != 0 && !matches!(mode, 2 | 5) {
            Some("MPOL_F_NUMA_BALANCING goes with MPOL_BIND and MPOL_PREFERRED_MANY only")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Err(Error::invalid(format!("linux.memoryPolicy.flags: {wrong}")));
        }
        let mut mask = vec![0u64; (NODES / 64) as usize];
        for node in nodes.iter().flatten() {
            mask[(node / 64) as usize] |= 1 << (node % 64);
        }
        let nodes = if nodes.is_some() { mask } else { Vec::new() };
        Ok(Self {
            mode: mode | flags,
            nodes,
        })
    }

    /// Child, in its cpuset: the kernel refuses nodes outside of it.
    pub fn apply(&self) -> Result<()> {
        process::set_memory_policy(self.mode, &self.nodes).map_err(|errno| {
            let error = Error::os("process", "set_mempolicy", errno).context("linux.memoryPolicy");
            match errno {
                Errno::EINVAL => error.hint(
                    "this machine has no such node, the cpuset of the container does not allow it, or the kernel does \
                     not know the mode",
                ),
                Errno::ENOSYS => error.hint("this kernel knows no NUMA: leave the policy out"),
                _ => error,
            }
        })
    }
}

/// `MPOL_F_*` (linux/mempolicy.h).
const STATIC: i32 = 1 << 15;
const RELATIVE: i32 = 1 << 14;
const BALANCING: i32 = 1 << 13;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: serde_json::Value) -> Result<MemoryPolicy> {
        MemoryPolicy::parse(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn as_the_kernel_numbers_them() {
        let bind = parse(
            json!({ "mode": "MPOL_BIND", "nodes": "0,65", "flags": ["MPOL_F_STATIC_NODES"] }),
        )
        .unwrap();
        assert_eq!(bind.mode, 2 | 1 << 15);
        assert_eq!(bind.nodes[..3], [1, 2, 0]);
        assert_eq!(
            parse(json!({ "mode": "MPOL_DEFAULT" })).unwrap(),
            MemoryPolicy {
                mode: 0,
                nodes: vec![]
            }
        );
        parse(json!({ "mode": "MPOL_PREFERRED", "nodes": "" })).unwrap();
    }

    #[test]
    fn combinations_that_mean_nothing_are_named() {
        for (value, field) in [
            (json!({ "mode": "MPOL_BIND" }), "nodes: is needed"),
            (
                json!({ "mode": "MPOL_LOCAL", "nodes": "0" }),
                "nodes: is not allowed",
            ),
            (
                json!({ "mode": "MPOL_BIND", "nodes": "1024" }),
                "nodes \"1024\"",
            ),
            (
                json!({ "mode": "MPOL_DEFAULT", "flags": ["MPOL_F_STATIC_NODES"] }),
                "flags",
            ),
            (
                json!({ "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"] }),
                "flags",
            ),
            (
                json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] }),
                "flags",
            ),
        ] {
            let error = parse(value.clone()).expect_err(&value.to_string()).message;
            assert!(
                error.contains(&format!("linux.memoryPolicy.{field}")),
                "{error}"
            );
        }
    }
}
