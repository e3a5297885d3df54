//! The default profile, decision by decision: against the profile's own text read a second way, against libseccomp
//! (if a C compiler and its header are there), and in the kernel.
#![cfg(target_arch = "x86_64")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use pyd_runtime::capabilities;
use pyd_runtime::seccomp::Filter;
use serde_json::Value;

const PROFILE: &str = include_str!("../src/seccomp/default.json");
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const X32: u32 = 0x4000_0000;

const DOCKER: [&str; 14] = [
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

/// Plain fields of one BPF instruction: code, jt, jf, k.
type Instruction = (u16, u8, u8, u32);

/// Classic BPF as the kernel runs it.
fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, arch);
    for (index, arg) in args.iter().enumerate() {
        (data[4 + 2 * index], data[5 + 2 * index]) = (*arg as u32, (*arg >> 32) as u32);
    }
    let (mut a, mut at) = (0u32, 0usize);
    loop {
        let (code, jt, jf, k) = program[at];
        at += 1;
        let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
        match code {
            0x20 => a = data[k as usize / 4],
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x45 => jump(a & k != 0),
            0x06 => return k,
            code => panic!("{code:#x}"),
        }
    }
}

fn program(filter: &Filter) -> Vec<Instruction> {
    filter
        .instructions()
        .iter()
        .map(|i| (i.code, i.jt, i.jf, i.k))
        .collect()
}

/// One rule of the profile: (action, name, conditions as index, operator, value, second value).
type Rule = (u32, String, Vec<(u64, String, u64, u64)>);

/// The rules for a machine of this kind, read from the JSON without the runtime's own types.
fn rules(caps: &BTreeSet<String>) -> Vec<Rule> {
    let profile: Value = serde_json::from_str(PROFILE).unwrap();
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().map_or_else(Vec::new, |all| {
            all.iter().map(|v| v.as_str().unwrap().to_owned()).collect()
        })
    };
    let mut rules = Vec::new();
    for entry in profile["syscalls"].as_array().unwrap() {
        let (includes, excludes) = (&entry["includes"], &entry["excludes"]);
        let arches = strings(&includes["arches"]);
        if !arches.is_empty() && !arches.iter().any(|arch| arch == "amd64")
            || strings(&excludes["arches"])
                .iter()
                .any(|arch| arch == "amd64")
            || !strings(&includes["caps"])
                .iter()
                .all(|cap| caps.contains(cap))
            || strings(&excludes["caps"])
                .iter()
                .any(|cap| caps.contains(cap))
        {
            continue;
        }
        let action = match entry["action"].as_str().unwrap() {
            "SCMP_ACT_ALLOW" => ALLOW,
            "SCMP_ACT_ERRNO" => 0x0005_0000 | entry["errnoRet"].as_u64().unwrap_or(1) as u32,
            other => panic!("{other}"),
        };
        let args: Vec<(u64, String, u64, u64)> =
            entry["args"].as_array().map_or_else(Vec::new, |args| {
                args.iter()
                    .map(|arg| {
                        let number = |key: &str| arg[key].as_u64().unwrap_or(0);
                        (
                            number("index"),
                            arg["op"].as_str().unwrap().to_owned(),
                            number("value"),
                            number("valueTwo"),
                        )
                    })
                    .collect()
            });
        for name in strings(&entry["names"]) {
            if args.len() > 1 {
                // All on one argument here: alternatives.
                rules.extend(
                    args.iter()
                        .map(|arg| (action, name.clone(), vec![arg.clone()])),
                );
            } else {
                rules.push((action, name.clone(), args.clone()));
            }
        }
    }
    rules
}

fn cap_sets() -> Vec<(u64, BTreeSet<String>)> {
    let docker: Vec<String> = DOCKER.iter().map(|name| format!("CAP_{name}")).collect();
    let with = |extra: &[&str]| {
        let mut set: BTreeSet<String> = docker.iter().cloned().collect();
        set.extend(extra.iter().map(|name| (*name).to_owned()));
        set
    };
    let all: BTreeSet<String> = capabilities::NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    let sets = vec![
        with(&[]),
        BTreeSet::new(),
        all,
        with(&["CAP_SYS_ADMIN"]),
        with(&["CAP_SYS_PTRACE", "CAP_SYS_TIME"]),
        with(&[
            "CAP_BPF",
            "CAP_SYSLOG",
            "CAP_PERFMON",
            "CAP_DAC_READ_SEARCH",
        ]),
    ];
    sets.into_iter()
        .map(|set| {
            (
                capabilities::parse(&set.iter().collect::<Vec<_>>()).unwrap(),
                set,
            )
        })
        .collect()
}

/// `(name, audit architecture, number)` of every call: x86-64, i386, and x32 where it shares the number of x86-64.
fn calls() -> Vec<(&'static str, u32, u32)> {
    let own_on_x32 = |name: &str| {
        let at_512 = "rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace rt_sigpending \
            rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load waitid set_robust_list \
            get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo recvmmsg sendmmsg process_vm_readv \
            process_vm_writev setsockopt getsockopt io_setup io_submit execveat preadv2 pwritev2 \
            uselib create_module get_kernel_syms query_module nfsservctl _sysctl set_thread_area get_thread_area \
            epoll_ctl_old epoll_wait_old vserver tuxcall security \
            map_shadow_stack uretprobe";
        at_512.split_whitespace().any(|own| own == name)
    };
    let native: Vec<_> = syscalls::x86_64::Sysno::iter()
        .map(|call| (call.name(), call.id() as u32))
        .collect();
    let x32 = native
        .iter()
        .filter(|(name, _)| !own_on_x32(name))
        .map(|(name, n)| (*name, 0xc000_003e, n | X32));
    let i386 =
        syscalls::x86::Sysno::iter().map(|call| (call.name(), 0x4000_0003, call.id() as u32));
    let x86_64 = native.iter().map(|(name, n)| (*name, 0xc000_003e, *n));
    x86_64.chain(x32).chain(i386).collect()
}

/// Values around everything that the profile compares with.
fn lattice() -> Vec<u64> {
    let mut values: Vec<u64> = (0..=50).collect();
    for base in [8u64, 0x20000, 0x20008, 0xffff_ffff, 0x0004_0000] {
        values.extend([base - 1, base, base + 1, base | 1 << 32, base | 1 << 63]);
    }
    // Every flag of clone, alone and with all harmless ones.
    values.extend((0..64).flat_map(|bit| [1 << bit, 1 << bit | 0x003d_0f00]));
    values
}

fn expected(rules: &[Rule], name: &str, arch: u32, number: u32, first: u64) -> u32 {
    let mine: Vec<&Rule> = rules.iter().filter(|rule| rule.1 == name).collect();
    if let Some(rule) = mine.iter().find(|rule| rule.2.is_empty()) {
        return rule.0;
    }
    let small = arch == 0x4000_0003 || number & X32 != 0;
    let value = if small { first & 0xffff_ffff } else { first };
    let holds = |(index, op, a, b): &(u64, String, u64, u64)| {
        assert_eq!(*index, 0, "the profile looks at first arguments only");
        match op.as_str() {
            "SCMP_CMP_LT" => value < *a,
            "SCMP_CMP_EQ" => value == *a,
            "SCMP_CMP_MASKED_EQ" => value & a == *b,
            other => panic!("{other}"),
        }
    };
    mine.iter()
        .find(|rule| holds(&rule.2[0]))
        .map_or(EPERM, |rule| rule.0)
}

#[test]
fn every_decision_is_the_profiles() {
    let mut decisions = 0;
    for (mask, names) in cap_sets() {
        let rules = rules(&names);
        let program = program(&Filter::default_for(mask).unwrap());
        for (name, arch, number) in calls() {
            // Newer than everything that the profile names.
            let newest = ["removexattrat", "listxattrat"];
            let too_new = number & !X32 > 466 && !newest.contains(&name);
            let conditional = rules
                .iter()
                .any(|rule| rule.1 == name && !rule.2.is_empty());
            let firsts = if conditional {
                lattice()
            } else {
                vec![0, 1, u64::MAX]
            };
            for first in firsts {
                let found = run(&program, arch, number, [first, 9, 9, 9, 9, 9]);
                let wanted = if too_new {
                    ENOSYS
                } else {
                    expected(&rules, name, arch, number, first)
                };
                assert_eq!(found, wanted, "{name} {arch:#x} {number:#x} {first:#x}");
                decisions += 1;
            }
        }
    }
    eprintln!("{decisions} decisions");
    assert!(decisions > 10_000);
}

#[test]
fn no_looser_than_docker() {
    let docker = capabilities::parse(&DOCKER).unwrap();
    let program = program(&Filter::default_for(docker).unwrap());
    let decide = |name: &str, first: u64| {
        let number = name.parse::<syscalls::x86_64::Sysno>().unwrap().id() as u32;
        run(&program, 0xc000_003e, number, [first, 0, 0, 0, 0, 0])
    };
    for name in [
        "io_uring_setup",
        "io_uring_enter",
        "io_uring_register",
        "mount",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "kexec_load",
        "init_module",
        "open_by_handle_at",
        "userfaultfd",
        "perf_event_open",
        "pivot_root",
        "swapon",
        "ptrace_none",
    ] {
        if name.parse::<syscalls::x86_64::Sysno>().is_ok() {
            assert_eq!(decide(name, 0), EPERM, "{name}");
        }
    }
    assert_eq!(decide("clone3", 0), ENOSYS);
    for family in [38, 40, 3, 12] {
        assert_eq!(decide("socket", family), EPERM, "{family}");
    }
    for family in [1, 2, 10, 16, 17] {
        assert_eq!(decide("socket", family), ALLOW, "{family}");
    }
    for flag in [
        0x0002_0000u64,
        0x0200_0000,
        0x0400_0000,
        0x0800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(decide("clone", flag | 17), EPERM, "{flag:#x}");
    }
    assert_eq!(decide("clone", 0x003d_0f00), ALLOW);
    assert_eq!(decide("personality", 0x0004_0000), EPERM);
    assert_eq!(decide("chroot", 0), ALLOW);
}

/// Builds a C helper of this directory, if there is a compiler (and what it needs).
fn helper(name: &str, flags: &[&str]) -> Option<PathBuf> {
    let out =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let source = format!("{}/tests/seccomp/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let built = Command::new("cc")
        .arg(source)
        .arg("-o")
        .arg(&out)
        .args(flags)
        .stderr(Stdio::null())
        .status();
    if built.is_ok_and(|status| status.success()) {
        return Some(out);
    }
    eprintln!("skipped: {name}.c needs a C compiler and {flags:?}");
    None
}

#[test]
fn libseccomp_decides_the_same() {
    let Some(helper) = helper("libseccomp", &["-lseccomp"]) else {
        return;
    };
    let mut compared = 0;
    for (mask, names) in cap_sets() {
        let rules = rules(&names);
        let mut input = format!("default {EPERM:#x}\narch x86\narch x32\n");
        for (action, name, args) in &rules {
            input += &format!("rule {action:#x} {name}");
            for (index, op, a, b) in args {
                let op = match op.as_str() {
                    "SCMP_CMP_LT" => 2,
                    "SCMP_CMP_EQ" => 4,
                    "SCMP_CMP_MASKED_EQ" => 7,
                    other => panic!("{other}"),
                };
                input += &format!(" {index} {op} {a} {b}");
            }
            input.push('\n');
        }
        let mut child = Command::new(&helper)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{:?}", output.status);
        let theirs: Vec<Instruction> = output
            .stdout
            .chunks(8)
            .map(|c| {
                let k = u32::from_le_bytes([c[4], c[5], c[6], c[7]]);
                (u16::from_le_bytes([c[0], c[1]]), c[2], c[3], k)
            })
            .collect();
        let unknown: BTreeSet<String> = String::from_utf8_lossy(&output.stderr)
            .lines()
            .map(str::to_owned)
            .collect();
        let ours = program(&Filter::default_for(mask).unwrap());
        eprintln!("{} instructions, libseccomp {}", ours.len(), theirs.len());
        // Numbers that this libseccomp is too old to have names for.
        let new: BTreeMap<(u32, u32), &str> = calls()
            .into_iter()
            .map(|(name, arch, number)| ((arch, number), name))
            .collect();
        for (arch, base) in [(0xc000_003e, 0), (0xc000_003e, X32), (0x4000_0003, 0)] {
            for number in (0..600).map(|n| n | base) {
                let name = new.get(&(arch, number));
                if name.is_some_and(|name| unknown.contains(*name)) {
                    continue;
                }
                let conditional =
                    name.is_some_and(|name| rules.iter().any(|r| r.1 == *name && !r.2.is_empty()));
                let firsts = if conditional || arch == 0x4000_0003 {
                    lattice()
                } else {
                    vec![0, 3, u64::MAX]
                };
                for first in firsts {
                    // The kernel gives 32-bit programs' arguments without anything in the high half.
                    let first = if arch == 0x4000_0003 {
                        first & 0xffff_ffff
                    } else {
                        first
                    };
                    let args = [first, 9, 9, 9, 9, 9];
                    let (mine, other) = (
                        run(&ours, arch, number, args),
                        run(&theirs, arch, number, args),
                    );
                    let newer = mine == ENOSYS && other == EPERM;
                    assert!(
                        mine == other || newer,
                        "{name:?} {arch:#x} {number:#x} {first:#x}: {mine:#x}, libseccomp {other:#x}"
                    );
                    // Only numbers beyond the profile's newest, and the block that x32 has to itself.
                    assert!(!newer || number & !X32 > 462, "{name:?} {number:#x}");
                    compared += 1;
                }
            }
        }
    }
    let _ = std::fs::remove_file(helper);
    eprintln!("{compared} decisions compared");
}

/// Not a test by itself: the process that loads the filter and becomes the probe.
#[test]
fn child_with_filter() {
    let Ok(probe) = std::env::var("PYD_TEST_PROBE") else {
        return;
    };
    let filter = Filter::default_for(capabilities::parse(&DOCKER).unwrap()).unwrap();
    filter.load().unwrap();
    let calls = std::env::var("PYD_TEST_CALLS").unwrap();
    panic!("{}", Command::new(probe).args(calls.split(' ')).exec());
}

#[test]
fn the_kernel_obeys() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: loading without no_new_privs needs root");
        return;
    }
    let Some(probe) = helper("probe", &[]) else {
        return;
    };
    let (eperm, enosys) = (libc::EPERM, libc::ENOSYS);
    let cases: Vec<(String, i32)> = [
        (format!("64:{}", libc::SYS_getpid), 0),
        (format!("64:{}:0x10000000", libc::SYS_unshare), eperm),
        (format!("64:{}", libc::SYS_clone3), enosys),
        (format!("64:{}:0x10000011", libc::SYS_clone), eperm),
        (format!("64:{}:1:0", libc::SYS_io_uring_setup), eperm),
        (format!("64:{}:2:1", libc::SYS_socket), 0),
        (format!("64:{}:38:5", libc::SYS_socket), eperm),
        (format!("64:{}:40:1", libc::SYS_socket), eperm),
        (format!("64:{}:0x40000", libc::SYS_personality), eperm),
        (format!("64:{}:0xffffffff", libc::SYS_personality), 0),
        (format!("64:{}", libc::SYS_mount), eperm),
        (format!("64:{}", libc::SYS_keyctl), eperm),
        ("64:9999".to_owned(), enosys),
        // i386: getpid, unshare, mount, clone3, a call that does not exist.
        ("32:20".to_owned(), 0),
        ("32:310:0x10000000".to_owned(), eperm),
        ("32:21".to_owned(), eperm),
        ("32:435".to_owned(), enosys),
        ("32:9999".to_owned(), enosys),
        ("32:359:38:5".to_owned(), eperm),
        ("32:288".to_owned(), eperm),
    ]
    .into_iter()
    .collect();
    let list: Vec<&str> = cases.iter().map(|(call, _)| call.as_str()).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "child_with_filter",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("PYD_TEST_PROBE", &probe)
        .env("PYD_TEST_CALLS", list.join(" "))
        .output()
        .unwrap();
    let _ = std::fs::remove_file(&probe);
    assert_eq!(output.status.signal(), None, "{output:?}");
    let results: Vec<i32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(results.len(), cases.len(), "{results:?}");
    for ((call, wanted), found) in cases.iter().zip(results) {
        // A kernel without IA-32 emulation kills, which is caught above.
        assert_eq!(found, *wanted, "{call}");
    }
}
