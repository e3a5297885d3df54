//! Names of system calls, their numbers on each architecture, and the verdict for each number.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::conditions::Verdict;
use super::{Arch, Condition, Op, Policy, X32_BIT, action};

/// Numbers with a meaning of their own far above the others: ARM's private calls.
const ARM_PRIVATE: u32 = 0x000f_0000;

/// The verdicts of one architecture.
#[derive(Debug)]
pub struct Calls {
    listed: BTreeMap<u32, Verdict>,
    default: Verdict,
    /// For numbers above every listed one.
    newer: Verdict,
    last: u32,
}

impl Calls {
    /// `(first number, verdict)`, from 0 on; neighbours differ.
    pub fn ranges(&self) -> Vec<(u32, &Verdict)> {
        let mut ranges: Vec<(u32, &Verdict)> = Vec::new();
        fn add<'a>(ranges: &mut Vec<(u32, &'a Verdict)>, start: u32, verdict: &'a Verdict) {
            match ranges.last_mut() {
                Some((_, last)) if *last == verdict => {}
                Some((last_start, last)) if *last_start == start => *last = verdict,
                _ => ranges.push((start, verdict)),
            }
        }
        add(&mut ranges, 0, &self.default);
        let mut next = 0;
        for (number, verdict) in self.listed.iter().map(|(n, v)| (*n, v)) {
            if number > next {
                self.fill(&mut ranges, next, number, add);
            }
            add(&mut ranges, number, verdict);
            next = number + 1;
        }
        self.fill(&mut ranges, next, u32::MAX, add);
        // A replaced first entry may have become equal to its neighbour.
        ranges.dedup_by(|later, earlier| later.1 == earlier.1);
        ranges
    }

    /// The numbers without a rule from `start` up to `end`: known ones get the default, later ones ENOSYS.
    fn fill<'a>(
        &'a self,
        ranges: &mut Vec<(u32, &'a Verdict)>,
        start: u32,
        end: u32,
        add: fn(&mut Vec<(u32, &'a Verdict)>, u32, &'a Verdict),
    ) {
        if start <= self.last {
            add(ranges, start, &self.default);
            if end > self.last + 1 {
                add(ranges, self.last + 1, &self.newer);
            }
        } else {
            add(ranges, start, &self.newer);
        }
    }
}

/// Turns rules about names into verdicts about numbers.
pub fn resolve(policy: &Policy<'_>, arch: Arch) -> Calls {
    let mut listed = BTreeMap::new();
    // As in runc: a program must be able to tell a call that this profile is too old to know, and use another one,
    // from a call that is forbidden.
    let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
    let ordinary = |number: &u32| match arch {
        Arch::Arm => *number < ARM_PRIVATE,
        Arch::X32 => *number & !X32_BIT < 512,
        _ => true,
    };
    let named = policy.rules.iter().flat_map(|rule| &rule.names);
    let last = named
        .filter_map(|name| number(arch, name))
        .filter(ordinary)
        .max();
    for rule in &policy.rules {
        // libseccomp knows no rule that repeats the default, so runtimes leave them out: an argument rule that does
        // must not shadow a later one.
        if rule.action == policy.default {
            continue;
        }
        // Two conditions on one argument are alternatives in runc and crun, which Docker profiles rely on.
        let repeated = rule
            .conditions
            .iter()
            .enumerate()
            .any(|(index, condition)| {
                rule.conditions[..index]
                    .iter()
                    .any(|other| other.argument == condition.argument)
            });
        let alternatives: Vec<Vec<Condition>> = if repeated {
            rule.conditions
                .iter()
                .map(|condition| vec![*condition])
                .collect()
        } else {
            vec![rule.conditions.clone()]
        };
        for name in &rule.names {
            for conditions in &alternatives {
                if let Some(number) = number(arch, name) {
                    add(&mut listed, number, rule.action, conditions, policy.default);
                }
                if arch == Arch::X86 {
                    add_multiplexed(&mut listed, name, rule.action, conditions, policy.default);
                }
            }
        }
    }
    let strict = !action::is_permissive(policy.default);
    let default = Verdict::Always(policy.default);
    Calls {
        newer: if strict && last.is_some() {
            Verdict::Always(action::ENOSYS)
        } else {
            default.clone()
        },
        listed,
        default,
        last: last.unwrap_or(bit),
    }
}

/// A rule without conditions replaces those with; the first one stays.
fn add(
    listed: &mut BTreeMap<u32, Verdict>,
    number: u32,
    action: u32,
    conditions: &[Condition],
    default: u32,
) {
    if conditions.is_empty() {
        match listed.get(&number) {
            Some(Verdict::Always(_)) => {}
            _ => drop(listed.insert(number, Verdict::Always(action))),
        }
        return;
    }
    match listed
        .entry(number)
        .or_insert_with(|| Verdict::When(Vec::new(), default))
    {
        Verdict::Always(_) => {}
        Verdict::When(alternatives, _) => alternatives.push((conditions.to_vec(), action)),
    }
}

/// i386 has a second way to sockets and System V IPC: one call whose first argument says which is meant. Its other
/// arguments lie in memory, where a filter cannot look: a rule on them forbids the call there but never allows it.
fn add_multiplexed(
    listed: &mut BTreeMap<u32, Verdict>,
    name: &str,
    action: u32,
    conditions: &[Condition],
    default: u32,
) {
    let Some((through, code)) = multiplexed(name) else {
        return;
    };
    if !conditions.is_empty() && action::is_permissive(action) {
        return;
    }
    if let Some(number) = number(Arch::X86, through) {
        let which = Condition {
            argument: 0,
            op: Op::Equal,
            value: code,
            value_two: 0,
        };
        add(listed, number, action, &[which], default);
    }
}

fn multiplexed(name: &str) -> Option<(&'static str, u64)> {
    // linux/net.h and linux/ipc.h.
    const SOCKET: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if let Some(index) = SOCKET.iter().position(|known| *known == name) {
        return Some(("socketcall", index as u64 + 1));
    }
    let (_, code) = IPC.iter().find(|(known, _)| *known == name)?;
    Some(("ipc", *code))
}

/// Names that no architecture of the policy knows.
pub fn unknown(policy: &Policy<'_>, arches: &[Arch]) -> Vec<String> {
    let known = |name: &str| arches.iter().any(|arch| number(*arch, name).is_some());
    let names = policy.rules.iter().flat_map(|rule| rule.names.iter());
    let mut unknown: Vec<String> = names
        .filter(|name| !known(name))
        .map(|name| (*name).to_owned())
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    unknown
}

/// The number of a call as the kernel reports it (x32: with its bit).
pub fn number(arch: Arch, name: &str) -> Option<u32> {
    let table = table(arch);
    let index = table.binary_search_by_key(&name, |(known, _)| known).ok()?;
    Some(table[index].1)
}

type Table = Vec<(&'static str, u32)>;

fn table(arch: Arch) -> &'static Table {
    static TABLES: [OnceLock<Table>; 5] = [const { OnceLock::new() }; 5];
    TABLES[arch as usize].get_or_init(|| {
        let mut table = match arch {
            Arch::X86_64 => {
                all(syscalls::x86_64::Sysno::iter().map(|call| (call.name(), call.id())))
            }
            Arch::X86 => all(syscalls::x86::Sysno::iter().map(|call| (call.name(), call.id()))),
            Arch::Aarch64 => {
                all(syscalls::aarch64::Sysno::iter().map(|call| (call.name(), call.id())))
            }
            Arch::Arm => all(syscalls::arm::Sysno::iter().map(|call| (call.name(), call.id()))),
            Arch::X32 => x32(),
        };
        match arch {
            // The kernel's own name; libseccomp and so the profiles use that of other architectures.
            Arch::Aarch64 => table.extend(find(&table, "fstatat").map(|n| ("newfstatat", n))),
            Arch::Arm => {
                table.extend(find(&table, "arm_sync_file_range").map(|n| ("sync_file_range2", n)));
                // arch/arm/include/uapi/asm/unistd.h.
                let private = [
                    "breakpoint",
                    "cacheflush",
                    "usr26",
                    "usr32",
                    "set_tls",
                    "get_tls",
                ];
                table.extend((ARM_PRIVATE + 1..).zip(private).map(|(n, name)| (name, n)));
            }
            _ => {}
        }
        table.sort_unstable();
        table.dedup_by_key(|(name, _)| *name);
        table
    })
}

fn all(calls: impl Iterator<Item = (&'static str, i32)>) -> Table {
    calls.map(|(name, id)| (name, id as u32)).collect()
}

fn find(table: &Table, name: &str) -> Option<u32> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
}

/// arch/x86/entry/syscalls/syscall_64.tbl: calls marked "common" keep the number of x86-64, those marked "64" do not
/// exist on x32, and some of the latter have one of their own from 512 on.
fn x32() -> Table {
    const ONLY_64: [&str; 15] = [
        "map_shadow_stack",
        "uretprobe",
        "uselib",
        "create_module",
        "get_kernel_syms",
        "query_module",
        "nfsservctl",
        "_sysctl",
        "set_thread_area",
        "get_thread_area",
        "epoll_ctl_old",
        "epoll_wait_old",
        "vserver",
        "tuxcall",
        "security",
    ];
    const OWN: [&str; 36] = [
        "rt_sigaction",
        "rt_sigreturn",
        "ioctl",
        "readv",
        "writev",
        "recvfrom",
        "sendmsg",
        "recvmsg",
        "execve",
        "ptrace",
        "rt_sigpending",
        "rt_sigtimedwait",
        "rt_sigqueueinfo",
        "sigaltstack",
        "timer_create",
        "mq_notify",
        "kexec_load",
        "waitid",
        "set_robust_list",
        "get_robust_list",
        "vmsplice",
        "move_pages",
        "preadv",
        "pwritev",
        "rt_tgsigqueueinfo",
        "recvmmsg",
        "sendmmsg",
        "process_vm_readv",
        "process_vm_writev",
        "setsockopt",
        "getsockopt",
        "io_setup",
        "io_submit",
        "execveat",
        "preadv2",
        "pwritev2",
    ];
    let common = table(Arch::X86_64)
        .iter()
        .filter(|(name, _)| !ONLY_64.contains(name) && !OWN.contains(name))
        .copied();
    let own = (512..).zip(OWN).map(|(number, name)| (name, number));
    common
        .chain(own)
        .map(|(name, number)| (name, number | X32_BIT))
        .collect()
}
