//! From rules about system calls to a classic BPF program (seccomp(2)), without libseccomp.
//!
//! `build.rs` includes this directory too and compiles the default profile with it, so nothing here may depend on the
//! rest of the crate.

mod arch;
mod assembler;
mod conditions;
mod numbers;
pub mod profile;
mod tree;

pub use arch::Arch;
pub use assembler::Instruction;
#[cfg(test)]
pub use numbers::number;

use assembler::{Assembler, Label};

/// What the kernel is told to do, with its data in the low 16 bits (`SECCOMP_RET_*`).
pub mod action {
    pub const KILL_THREAD: u32 = 0;
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    /// "No such system call": what programs probe for before they fall back to an older one.
    pub const ENOSYS: u32 = ERRNO | 38;

    /// Lets the call happen (a tracer is taken to know what it does).
    pub fn is_permissive(action: u32) -> bool {
        matches!(action & 0xffff_0000, ALLOW | LOG | TRACE)
    }
}

/// Comparison of an argument, all unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// `argument & value == value_two`.
    MaskedEqual,
}

/// One condition on one argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 to 5.
    pub argument: u8,
    pub op: Op,
    pub value: u64,
    pub value_two: u64,
}

/// An action for some calls, if all conditions hold.
#[derive(Debug, Clone)]
pub struct Rule<'a> {
    pub names: Vec<&'a str>,
    pub action: u32,
    pub conditions: Vec<Condition>,
}

/// The whole of what a filter decides.
#[derive(Debug, Clone)]
pub struct Policy<'a> {
    /// For calls without a rule.
    pub default: u32,
    /// The native one is always included; foreign ones, which this kernel cannot report, are left out.
    pub arches: Vec<Arch>,
    pub rules: Vec<Rule<'a>>,
}

/// A compiled policy.
#[derive(Debug, Clone)]
pub struct Program {
    pub instructions: Vec<Instruction>,
    /// Names of rules that no architecture of the policy knows. As in other runtimes they are passed over, so that one
    /// profile serves old and new builds.
    pub unknown: Vec<String>,
}

/// Calls of an architecture that is not in the policy come from a program that chose another ABI to get around it.
const WRONG_ARCH: u32 = action::KILL_PROCESS;

/// `struct seccomp_data`: the number of the call, and the architecture.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// x32 calls are x86-64 calls with this bit in the number.
const X32_BIT: u32 = 0x4000_0000;

/// Compiles a policy for a native architecture.
pub fn compile(policy: &Policy<'_>, native: Arch) -> Program {
    let mut arches = vec![native];
    for arch in &policy.arches {
        if native.family().contains(arch) && !arches.contains(arch) {
            arches.push(*arch);
        }
    }
    let resolved: Vec<(Arch, numbers::Calls)> = arches
        .iter()
        .map(|arch| (*arch, numbers::resolve(policy, *arch)))
        .collect();
    let unknown = numbers::unknown(policy, &arches);

    // The program is built from its end, so that every jump goes to a place that is already known.
    let mut asm = Assembler::default();
    let mut entries: Vec<(Arch, Label)> = Vec::new();
    for (arch, calls) in resolved.iter().rev() {
        entries.push((*arch, tree::emit(&mut asm, calls, *arch)));
    }
    let entry = |wanted: Arch| {
        entries
            .iter()
            .find(|(arch, _)| *arch == wanted)
            .map(|(_, label)| *label)
    };
    let mut next = asm.ret(WRONG_ARCH);
    for (arch, label) in &entries {
        let mut target = match arch {
            // Shares its number with x86-64 and is told apart below.
            Arch::X32 => continue,
            _ => *label,
        };
        if *arch == Arch::X86_64 {
            let x32 = match entry(Arch::X32) {
                Some(x32) => x32,
                // -1 is what a tracer leaves behind when it has skipped the call; it is no x32 call.
                None => {
                    let wrong = asm.ret(WRONG_ARCH);
                    let skipped = asm.ret(action::ENOSYS);
                    asm.jump_equal(u32::MAX, skipped, wrong)
                }
            };
            target = asm.jump_greater_or_equal(X32_BIT, x32, target);
        }
        let target = asm.load(NUMBER, target);
        next = asm.jump_equal(arch.audit(), target, next);
    }
    asm.load(ARCH, next);
    Program {
        instructions: asm.finish(),
        unknown,
    }
}
