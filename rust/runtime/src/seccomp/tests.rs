//! The compiler on its own; `tests/seccomp.rs` compares whole profiles with other implementations and the kernel.

use std::time::Instant;

use super::compiler::{Condition, Op, Rule};
use super::*;

/// What the kernel would decide (classic BPF over `struct seccomp_data`).
fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, arch);
    for (index, arg) in args.iter().enumerate() {
        (data[4 + 2 * index], data[5 + 2 * index]) = (*arg as u32, (*arg >> 32) as u32);
    }
    let (mut a, mut at) = (0u32, 0usize);
    loop {
        let i = &program[at];
        at += 1;
        let mut jump = |yes: bool| at += usize::from(if yes { i.jt } else { i.jf });
        match i.code {
            0x20 => a = data[i.k as usize / 4],
            0x54 => a &= i.k,
            0x05 => at += i.k as usize,
            0x15 => jump(a == i.k),
            0x25 => jump(a > i.k),
            0x35 => jump(a >= i.k),
            0x06 => return i.k,
            code => panic!("{code:#x}"),
        }
    }
}

fn condition(argument: u8, op: Op, value: u64, value_two: u64) -> Condition {
    Condition {
        argument,
        op,
        value,
        value_two,
    }
}

fn holds(condition: &Condition, args: [u64; 6], mask: u64) -> bool {
    let arg = args[usize::from(condition.argument)] & mask;
    let (value, two) = (condition.value & mask, condition.value_two & mask);
    match condition.op {
        Op::NotEqual => arg != value,
        Op::Less => arg < value,
        Op::LessOrEqual => arg <= value,
        Op::Equal => arg == value,
        Op::GreaterOrEqual => arg >= value,
        Op::Greater => arg > value,
        Op::MaskedEqual => arg & value == two,
    }
}

/// Numbers around every border that a comparison of halves could get wrong.
const VALUES: [u64; 14] = [
    0,
    1,
    7,
    8,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x1_0000_0008,
    0x7fff_ffff_ffff_ffff,
    u64::MAX - 1,
    u64::MAX,
];

const OPS: [Op; 7] = [
    Op::NotEqual,
    Op::Less,
    Op::LessOrEqual,
    Op::Equal,
    Op::GreaterOrEqual,
    Op::Greater,
    Op::MaskedEqual,
];

#[test]
fn every_operator_on_64_and_32_bits() {
    let natives = [(Arch::X86_64, Arch::X86), (Arch::Aarch64, Arch::Arm)];
    for (native, small) in natives {
        for op in OPS {
            for value in VALUES {
                for value_two in if op == Op::MaskedEqual {
                    &VALUES[..]
                } else {
                    &VALUES[..1]
                } {
                    let condition = condition(2, op, value, *value_two);
                    let policy = Policy {
                        default: action::ERRNO | 1,
                        arches: vec![small],
                        rules: vec![Rule {
                            names: vec!["write"],
                            action: action::ALLOW,
                            conditions: vec![condition],
                        }],
                    };
                    let filter = Filter::compile_for(&policy, native);
                    for arg in VALUES {
                        let args = [9, 9, arg, 9, 9, 9];
                        for (arch, mask) in [(native, u64::MAX), (small, u64::from(u32::MAX))] {
                            let number = compiler::number(arch, "write").unwrap();
                            let expected = if holds(&condition, args, mask) {
                                action::ALLOW
                            } else {
                                policy.default
                            };
                            let found = run(&filter, arch.audit(), number, args);
                            assert_eq!(found, expected, "{arch:?} {condition:?} {arg:#x}");
                        }
                    }
                }
            }
        }
    }
}

impl Filter {
    fn compile_for(policy: &Policy<'_>, native: Arch) -> Vec<Instruction> {
        let program = compiler::compile(policy, native).instructions;
        program
            .iter()
            .map(|i| Instruction {
                code: i.code,
                jt: i.jt,
                jf: i.jf,
                k: i.k,
            })
            .collect()
    }
}

/// A small generator, so that failures can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

#[test]
fn random_policies_decide_as_their_rules_say() {
    let names = [
        "read",
        "write",
        "socket",
        "clone",
        "mount",
        "ioctl",
        "personality",
        "prctl",
        "openat",
        "mseal",
    ];
    let actions = [
        action::ALLOW,
        action::ERRNO | 38,
        action::KILL_PROCESS,
        action::LOG,
        action::ERRNO | 1,
    ];
    let mut random = Random(1);
    for round in 0..400 {
        let default = actions[random.below(actions.len())];
        let rules: Vec<Rule<'_>> = (0..random.below(12))
            .map(|_| {
                // Distinct arguments: conditions on the same one are alternatives, which another test shows.
                let first = random.below(6);
                let conditions = (0..random.below(3))
                    .map(|index| {
                        condition(
                            ((first + index) % 6) as u8,
                            OPS[random.below(7)],
                            VALUES[random.below(VALUES.len())],
                            VALUES[random.below(VALUES.len())],
                        )
                    })
                    .collect();
                Rule {
                    names: (0..=random.below(3))
                        .map(|_| names[random.below(names.len())])
                        .collect(),
                    action: actions[random.below(actions.len())],
                    conditions,
                }
            })
            .collect();
        let policy = Policy {
            default,
            arches: vec![Arch::X32],
            rules,
        };
        let program = Filter::compile_for(&policy, Arch::X86_64);
        for _ in 0..300 {
            let arch = if random.below(2) == 0 {
                Arch::X86_64
            } else {
                Arch::X32
            };
            let name = names[random.below(names.len())];
            let number = compiler::number(arch, name).unwrap();
            let args = std::array::from_fn(|_| VALUES[random.below(VALUES.len())]);
            let found = run(&program, arch.audit(), number, args);
            assert_eq!(
                found,
                expected(&policy, arch, name, args),
                "{round} {name} {args:x?} {policy:?}"
            );
        }
    }
}

fn expected(policy: &Policy<'_>, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let mask = if arch.is_32_bit() {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let mine: Vec<&Rule<'_>> = policy
        .rules
        .iter()
        .filter(|rule| rule.names.contains(&name) && rule.action != policy.default)
        .collect();
    if let Some(rule) = mine.iter().find(|rule| rule.conditions.is_empty()) {
        return rule.action;
    }
    if let Some(rule) = mine
        .iter()
        .find(|rule| rule.conditions.iter().all(|c| holds(c, args, mask)))
    {
        return rule.action;
    }
    let all = policy.rules.iter().flat_map(|rule| &rule.names);
    let last = all
        .filter_map(|name| compiler::number(arch, name))
        .filter(|n| n & 0x3fff_ffff < 512)
        .max();
    match last {
        // A call with a rule is known, wherever its number lies.
        Some(last)
            if mine.is_empty()
                && compiler::number(arch, name).unwrap() > last
                && !action::is_permissive(policy.default) =>
        {
            action::ENOSYS
        }
        _ => policy.default,
    }
}

#[test]
fn other_ways_in_are_closed() {
    let policy = |default, rules: Vec<Rule<'static>>, arches| Policy {
        default,
        arches,
        rules,
    };
    let rule = |name, action, conditions| Rule {
        names: vec![name],
        action,
        conditions,
    };
    let deny = action::ERRNO | 13;
    // An architecture that is not listed, and x32 without being listed.
    let only = Filter::compile_for(&policy(action::ALLOW, vec![], vec![]), Arch::X86_64);
    assert_eq!(run(&only, Arch::X86_64.audit(), 1, [0; 6]), action::ALLOW);
    assert_eq!(
        run(&only, Arch::X86.audit(), 1, [0; 6]),
        action::KILL_PROCESS
    );
    assert_eq!(
        run(&only, Arch::X86_64.audit(), 0x4000_0001, [0; 6]),
        action::KILL_PROCESS
    );
    assert_eq!(run(&only, 0x1234, 1, [0; 6]), action::KILL_PROCESS);
    assert_eq!(
        run(&only, Arch::X86_64.audit(), u32::MAX, [0; 6]),
        action::ENOSYS
    );
    // socket() on i386 has two entrances; which family is asked for is visible at one of them only.
    let all = vec![Arch::X86];
    let forbids = vec![rule("socket", deny, vec![condition(0, Op::Equal, 38, 0)])];
    let program = Filter::compile_for(&policy(action::ALLOW, forbids, all.clone()), Arch::X86_64);
    assert_eq!(
        run(&program, Arch::X86.audit(), 359, [38, 0, 0, 0, 0, 0]),
        deny
    );
    assert_eq!(
        run(&program, Arch::X86.audit(), 359, [2, 0, 0, 0, 0, 0]),
        action::ALLOW
    );
    assert_eq!(
        run(&program, Arch::X86.audit(), 102, [1, 0, 0, 0, 0, 0]),
        deny
    );
    assert_eq!(
        run(&program, Arch::X86.audit(), 102, [3, 0, 0, 0, 0, 0]),
        action::ALLOW
    );
    let allows = vec![
        rule("socket", action::ALLOW, vec![]),
        rule("shmget", action::ALLOW, vec![condition(0, Op::Equal, 1, 0)]),
    ];
    let program = Filter::compile_for(&policy(deny, allows, all), Arch::X86_64);
    assert_eq!(
        run(&program, Arch::X86.audit(), 102, [1, 0, 0, 0, 0, 0]),
        action::ALLOW
    );
    assert_eq!(
        run(&program, Arch::X86.audit(), 102, [2, 0, 0, 0, 0, 0]),
        deny
    );
    assert_eq!(
        run(&program, Arch::X86.audit(), 117, [23, 0, 0, 0, 0, 0]),
        deny
    );
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let either = vec![
        condition(0, Op::Equal, 2, 0),
        condition(0, Op::Equal, 10, 0),
    ];
    let policy = Policy {
        default: action::ERRNO | 1,
        arches: vec![],
        rules: vec![Rule {
            names: vec!["socket"],
            action: action::ALLOW,
            conditions: either,
        }],
    };
    let program = Filter::compile_for(&policy, Arch::X86_64);
    for (family, expected) in [
        (2, action::ALLOW),
        (10, action::ALLOW),
        (1, policy.default),
        (3, policy.default),
    ] {
        assert_eq!(
            run(&program, Arch::X86_64.audit(), 41, [family, 0, 0, 0, 0, 0]),
            expected
        );
    }
}

#[test]
fn precompiled_and_compiled_are_the_same() {
    for (bounding, program) in PRECOMPILED {
        let filter = Filter::compile_default(*bounding, PRECOMPILED_KERNEL).unwrap();
        assert!(filter.instructions() == *program, "{bounding:#x}");
        assert!(program.len() < 700, "{}", program.len());
    }
    // Docker's default capabilities are among them.
    let docker = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ];
    let docker = capabilities::parse(&docker).unwrap() & RELEVANT_CAPABILITIES;
    assert!(PRECOMPILED.iter().any(|(caps, _)| *caps == docker));
}

#[test]
fn compiling_takes_less_than_a_millisecond() {
    // Only an optimised build says anything about the time; the tables of names are made in the first call.
    let start = Instant::now();
    Filter::compile_default(1 << 40, PRECOMPILED_KERNEL).unwrap();
    let first = start.elapsed();
    let start = Instant::now();
    Filter::compile_default(1 << 39, PRECOMPILED_KERNEL).unwrap();
    let second = start.elapsed();
    eprintln!("first {first:?}, second {second:?}");
    if !cfg!(debug_assertions) {
        assert!(
            second.as_micros() < 1000 && first.as_micros() < 3000,
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn specs_are_read_and_refused() {
    let filter = |json: &str| {
        let spec: Spec = serde_json::from_str(&format!(
            r#"{{"ociVersion":"1.2.0","linux":{{"seccomp":{json}}}}}"#
        ))
        .unwrap();
        Filter::for_spec(&spec)
    };
    let flags = filter(r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG"]}"#)
        .unwrap()
        .unwrap();
    assert_eq!((flags.flags, flags.optional_flags), (kernel::FLAG_LOG, 0));
    let notify = r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent","listenerMetadata":"x",
        "flags":["SECCOMP_FILTER_FLAG_TSYNC"],
        "syscalls":[{"names":["mkdir","no_such_call"],"action":"SCMP_ACT_NOTIFY"}]}"#;
    let notify = filter(notify).unwrap().unwrap();
    assert_eq!(notify.listener().unwrap().path, Path::new("/run/agent"));
    assert_eq!(
        notify.flags,
        kernel::FLAG_TSYNC | kernel::FLAG_NEW_LISTENER | kernel::FLAG_TSYNC_ESRCH
    );
    assert_eq!(notify.unknown_calls(), ["no_such_call"]);
    for (json, word) in [
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "default"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["sendmsg"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "sendmsg",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "listenerPath",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":65536}"#,
            "65536",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
                "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
            "syscalls[0]: a system call has no argument 6",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#,
            "defaultErrnoRet",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"},
                {"names":["write"],"action":"SCMP_ACT_ALLOW","errnoRet":5}]}"#,
            "syscalls[1]: the seccomp error number 5",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_LOG"}]}"#,
            "syscalls[0]: names",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}"#,
            "listenerMetadata",
        ),
    ] {
        let said = filter(json).unwrap_err().to_string();
        assert!(said.contains(word), "{json}: {said}");
    }
    assert!(filter("null").unwrap().is_none());
    let annotated = |name: &str| {
        let spec =
            format!(r#"{{"ociVersion":"1.2.0","annotations":{{"dev.pyd.seccomp":"{name}"}}}}"#);
        Filter::for_spec(&serde_json::from_str(&spec).unwrap())
    };
    assert!(annotated("default").unwrap().is_some());
    assert!(annotated("defualt").is_err());
}
