//! `linux.seccomp` of the runtime spec as a policy (runtime-spec config-linux.md, "Seccomp").

use oci_spec::runtime::{
    Arch as SpecArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use pyd_sys::seccomp as kernel;

use super::compiler::{Arch, Condition, Op, Policy, Rule, action};
use super::{Filter, Listener};
use crate::error::{Error, Result};

pub(super) const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", kernel::FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", kernel::FLAG_LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", kernel::FLAG_SPEC_ALLOW),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        kernel::FLAG_WAIT_KILLABLE_RECV,
    ),
];

pub(super) fn filter(seccomp: &LinuxSeccomp) -> Result<Filter> {
    let policy = policy(seccomp)?;
    let notifies = policy
        .rules
        .iter()
        .any(|rule| rule.action == kernel::RET_USER_NOTIF);
    if seccomp.listener_path().is_none() && seccomp.listener_metadata().is_some() {
        return Err(Error::invalid(
            "linux.seccomp.listenerMetadata must not be set without listenerPath",
        ));
    }
    let mut filter = Filter::compile(&policy)?;
    if let Some(flags) = seccomp.flags() {
        filter.optional_flags = 0;
        filter.flags = flags.iter().fold(0, |all, flag| {
            all | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => kernel::FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => kernel::FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => kernel::FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                    kernel::FLAG_WAIT_KILLABLE_RECV
                }
            }
        });
    }
    if notifies {
        filter.flags |= kernel::FLAG_NEW_LISTENER;
        if filter.flags & kernel::FLAG_TSYNC != 0 {
            filter.flags |= kernel::FLAG_TSYNC_ESRCH;
        }
        let path = seccomp.listener_path().clone().ok_or_else(|| {
            Error::invalid("SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath")
                .hint("name the socket of the agent that answers for the calls")
        })?;
        filter.listener = Some(Listener {
            path,
            metadata: seccomp.listener_metadata().clone(),
        });
    } else if filter.flags & kernel::FLAG_WAIT_KILLABLE_RECV != 0 {
        // The kernel refuses the flag without a listener.
        filter.flags &= !kernel::FLAG_WAIT_KILLABLE_RECV;
    }
    Ok(filter)
}

fn policy(seccomp: &LinuxSeccomp) -> Result<Policy<'_>> {
    let default = encode(seccomp.default_action(), seccomp.default_errno_ret())
        .map_err(|e| e.context("linux.seccomp.defaultErrnoRet"))?;
    if default == kernel::RET_USER_NOTIF {
        return Err(
            Error::invalid("SCMP_ACT_NOTIFY cannot be the default action of seccomp")
                .hint("the runtime itself would wait for the agent that it is about to start"),
        );
    }
    let arches = seccomp.architectures().iter().flatten();
    Ok(Policy {
        default,
        arches: arches.filter_map(|arch| known(*arch)).collect(),
        rules: seccomp
            .syscalls()
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, entry)| {
                rule(entry).map_err(|e| e.context(format!("linux.seccomp.syscalls[{index}]")))
            })
            .collect::<Result<_>>()?,
    })
}

fn rule(syscall: &LinuxSyscall) -> Result<Rule<'_>> {
    if syscall.names().is_empty() {
        return Err(Error::invalid("names must have at least one entry"));
    }
    let action = encode(syscall.action(), syscall.errno_ret())?;
    if action == kernel::RET_USER_NOTIF && syscall.names().iter().any(|name| name == "sendmsg") {
        return Err(Error::invalid("SCMP_ACT_NOTIFY cannot be used for sendmsg")
            .hint("the runtime needs sendmsg to hand the listener over"));
    }
    let conditions = syscall.args().iter().flatten().map(|arg| {
        let argument = u8::try_from(arg.index()).ok().filter(|index| *index < 6);
        Ok(Condition {
            argument: argument.ok_or_else(|| {
                Error::invalid(format!(
                    "a system call has no argument {}: they are 0 to 5",
                    arg.index()
                ))
            })?,
            op: match arg.op() {
                LinuxSeccompOperator::ScmpCmpNe => Op::NotEqual,
                LinuxSeccompOperator::ScmpCmpLt => Op::Less,
                LinuxSeccompOperator::ScmpCmpLe => Op::LessOrEqual,
                LinuxSeccompOperator::ScmpCmpEq => Op::Equal,
                LinuxSeccompOperator::ScmpCmpGe => Op::GreaterOrEqual,
                LinuxSeccompOperator::ScmpCmpGt => Op::Greater,
                LinuxSeccompOperator::ScmpCmpMaskedEq => Op::MaskedEqual,
            },
            value: arg.value(),
            value_two: arg.value_two().unwrap_or(0),
        })
    });
    Ok(Rule {
        names: syscall.names().iter().map(String::as_str).collect(),
        action,
        conditions: conditions.collect::<Result<_>>()?,
    })
}

/// The action with its data: EPERM where no number is given.
fn encode(action: LinuxSeccompAction, number: Option<u32>) -> Result<u32> {
    let numbered = matches!(
        action,
        LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace
    );
    if let Some(number) = number.filter(|_| !numbered) {
        // The spec has it so: a number that would be passed over hides a mistake.
        return Err(Error::invalid(format!(
            "the seccomp error number {number} is for SCMP_ACT_ERRNO and SCMP_ACT_TRACE only"
        )));
    }
    let data = number.unwrap_or(libc::EPERM as u32);
    if data > 0xffff {
        return Err(Error::invalid(format!(
            "the seccomp error number {data} does not fit into 16 bits"
        )));
    }
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            action::KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => action::KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => action::TRAP,
        LinuxSeccompAction::ScmpActErrno => action::ERRNO | data,
        LinuxSeccompAction::ScmpActNotify => kernel::RET_USER_NOTIF,
        LinuxSeccompAction::ScmpActTrace => action::TRACE | data,
        LinuxSeccompAction::ScmpActLog => action::LOG,
        LinuxSeccompAction::ScmpActAllow => action::ALLOW,
    })
}

/// None for the native architecture, which is always in, and for those that no kernel of ours reports.
fn known(arch: SpecArch) -> Option<Arch> {
    match arch {
        SpecArch::ScmpArchX86_64 => Some(Arch::X86_64),
        SpecArch::ScmpArchX86 => Some(Arch::X86),
        SpecArch::ScmpArchX32 => Some(Arch::X32),
        SpecArch::ScmpArchAarch64 => Some(Arch::Aarch64),
        SpecArch::ScmpArchArm => Some(Arch::Arm),
        _ => None,
    }
}
