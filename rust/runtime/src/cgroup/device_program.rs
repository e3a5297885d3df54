//! Device rules as a BPF program of type BPF_PROG_TYPE_CGROUP_DEVICE.
//!
//! The kernel calls it with `struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }`, where access_type is
//! `access << 16 | type`, and lets the access happen if it answers 1.

use pyd_sys::bpf::Instruction;

use super::devices::{Exception, MKNOD, Policy, READ, WRITE};

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

// Operation codes (linux/bpf.h, linux/bpf_common.h).
const LOAD_WORD: u8 = 0x61;
const MOVE_32: u8 = 0xbc;
const AND_32_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT_32_IMMEDIATE: u8 = 0x74;
const MOVE_IMMEDIATE: u8 = 0xb7;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

// Registers: the verdict, the context (later scratch), and the four values of the request.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: source << 4 | destination,
        offset,
        immediate,
    }
}

pub(crate) fn compile(policy: &Policy) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_32, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT_32_IMMEDIATE, ACCESS, 0, 0, 16),
        instruction(AND_32_IMMEDIATE, KIND, 0, 0, 0xffff),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for exception in &policy.exceptions {
        append(&mut program, exception, policy.allow);
    }
    verdict(&mut program, policy.allow);
    program
}

/// Answers the opposite of the default if the request fits the exception, else falls through.
fn append(program: &mut Vec<Instruction>, exception: &Exception, default: bool) {
    let start = program.len();
    let kind = if exception.block { BLOCK } else { CHARACTER };
    program.push(instruction(JUMP_NOT_EQUAL, KIND, 0, 0, kind));
    // An allowing exception must cover the whole request, a denying one any part of it.
    let all = MKNOD | READ | WRITE;
    if exception.access != all {
        program.push(instruction(MOVE_32, SCRATCH, ACCESS, 0, 0));
        let (mask, jump) = if default {
            (exception.access, JUMP_EQUAL)
        } else {
            (all & !exception.access, JUMP_NOT_EQUAL)
        };
        program.push(instruction(AND_32_IMMEDIATE, SCRATCH, 0, 0, mask.into()));
        program.push(instruction(jump, SCRATCH, 0, 0, 0));
    }
    for (register, number) in [(MAJOR, exception.major), (MINOR, exception.minor)] {
        if let Some(number) = number {
            program.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number as i32));
        }
    }
    verdict(program, !default);
    let end = program.len();
    for (index, instruction) in program.iter_mut().enumerate().skip(start) {
        if matches!(instruction.code, JUMP_NOT_EQUAL | JUMP_EQUAL) {
            instruction.offset = (end - index - 1) as i16;
        }
    }
}

fn verdict(program: &mut Vec<Instruction>, allow: bool) {
    program.push(instruction(MOVE_IMMEDIATE, VERDICT, 0, 0, allow.into()));
    program.push(instruction(EXIT, 0, 0, 0, 0));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn run(program: &[Instruction], block: bool, access: u8, major: u32, minor: u32) -> bool {
        let context = [
            u32::from(access) << 16 | if block { 1 } else { 2 },
            major,
            minor,
        ];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let immediate = i64::from(i.immediate) as u64;
            at += 1;
            match i.code {
                LOAD_WORD => registers[to] = context[i.offset as usize / 4].into(),
                MOVE_32 => registers[to] = registers[from] & 0xffff_ffff,
                AND_32_IMMEDIATE => registers[to] &= immediate & 0xffff_ffff,
                SHIFT_RIGHT_32_IMMEDIATE => {
                    registers[to] = (registers[to] & 0xffff_ffff) >> immediate
                }
                MOVE_IMMEDIATE => registers[to] = immediate,
                JUMP_NOT_EQUAL if registers[to] != immediate => at += i.offset as usize,
                JUMP_EQUAL if registers[to] == immediate => at += i.offset as usize,
                JUMP_NOT_EQUAL | JUMP_EQUAL => {}
                EXIT => return registers[0] == 1,
                code => panic!("{code:#x}"),
            }
        }
    }

    fn exception(block: bool, major: Option<u32>, minor: Option<u32>, access: u8) -> Exception {
        Exception {
            block,
            major,
            minor,
            access,
        }
    }

    #[test]
    fn denies_by_default() {
        let program = compile(&Policy {
            allow: false,
            exceptions: vec![
                exception(false, None, None, MKNOD),
                exception(false, Some(1), Some(3), READ | WRITE | MKNOD),
                exception(false, Some(136), None, READ | WRITE),
                exception(true, Some(8), Some(0), READ),
            ],
        });
        assert!(run(&program, false, MKNOD, 7, 7));
        assert!(!run(&program, false, MKNOD | READ, 7, 7));
        assert!(run(&program, false, READ | WRITE, 1, 3));
        assert!(run(&program, false, WRITE, 136, 42));
        assert!(!run(&program, true, WRITE, 136, 42));
        assert!(run(&program, true, READ, 8, 0));
        assert!(!run(&program, true, READ | WRITE, 8, 0));
        assert!(!run(&program, true, MKNOD, 8, 0));
        assert!(!run(&program, true, READ, 8, 1));
    }

    #[test]
    fn allows_by_default() {
        let program = compile(&Policy {
            allow: true,
            exceptions: vec![exception(false, Some(10), None, WRITE)],
        });
        assert!(run(&program, false, READ, 10, 200));
        assert!(!run(&program, false, READ | WRITE, 10, 200));
        assert!(run(&program, true, WRITE, 10, 200));
        assert!(run(
            &compile(&Policy {
                allow: true,
                exceptions: vec![]
            }),
            true,
            WRITE,
            8,
            0
        ));
    }
}
