//! Conditions on arguments: each call has a list of alternatives, and the first that holds decides.

use super::assembler::{Assembler, Label};
use super::{Arch, Condition, Op};

/// What decides about one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Always(u32),
    /// Alternatives in order, each with the conditions that must all hold; then what holds if none does.
    When(Vec<(Vec<Condition>, u32)>, u32),
}

/// Code for a verdict. The accumulator holds the number of the call and may be overwritten.
pub fn emit(asm: &mut Assembler, verdict: &Verdict, arch: Arch) -> Label {
    match verdict {
        Verdict::Always(action) => asm.ret(*action),
        Verdict::When(alternatives, otherwise) => {
            if let Some((argument, pieces)) = pieces(alternatives, *otherwise, arch) {
                return emit_pieces(asm, argument, &pieces, arch);
            }
            let mut next = asm.ret(*otherwise);
            for (conditions, action) in alternatives.iter().rev() {
                let mut yes = asm.ret(*action);
                for condition in conditions.iter().rev() {
                    yes = emit_condition(asm, condition, arch, yes, next);
                }
                next = yes;
            }
            next
        }
    }
}

fn low(argument: u8) -> u32 {
    // args[] starts at byte 16 of struct seccomp_data; both families are little-endian.
    16 + 8 * u32::from(argument)
}

fn high(argument: u8) -> u32 {
    low(argument) + 4
}

fn emit_condition(
    asm: &mut Assembler,
    condition: &Condition,
    arch: Arch,
    yes: Label,
    no: Label,
) -> Label {
    let (argument, value) = (condition.argument, condition.value);
    let (value_low, value_high) = (value as u32, (value >> 32) as u32);
    // `greater or equal` and `less` are one test with the ways out swapped, and so on.
    match condition.op {
        Op::Equal | Op::NotEqual => {
            let (yes, no) = if condition.op == Op::Equal {
                (yes, no)
            } else {
                (no, yes)
            };
            let test = asm.jump_equal(value_low, yes, no);
            let rest = asm.load(low(argument), test);
            if arch.is_32_bit() {
                return rest;
            }
            let test = asm.jump_equal(value_high, rest, no);
            asm.load(high(argument), test)
        }
        Op::GreaterOrEqual | Op::Less | Op::Greater | Op::LessOrEqual => {
            let (yes, no) = match condition.op {
                Op::GreaterOrEqual | Op::Greater => (yes, no),
                _ => (no, yes),
            };
            let test = match condition.op {
                Op::GreaterOrEqual | Op::Less => asm.jump_greater_or_equal(value_low, yes, no),
                _ => asm.jump_greater(value_low, yes, no),
            };
            let rest = asm.load(low(argument), test);
            if arch.is_32_bit() {
                return rest;
            }
            let equal = asm.jump_equal(value_high, rest, no);
            let test = asm.jump_greater(value_high, yes, equal);
            asm.load(high(argument), test)
        }
        Op::MaskedEqual => {
            let wanted = condition.value_two;
            let test = asm.jump_equal(wanted as u32, yes, no);
            let masked = asm.and(value_low, test);
            let rest = asm.load(low(argument), masked);
            if arch.is_32_bit() {
                return rest;
            }
            let wanted_high = (wanted >> 32) as u32;
            if value_high == 0 {
                return if wanted_high == 0 { rest } else { no };
            }
            let test = asm.jump_equal(wanted_high, rest, no);
            let masked = asm.and(value_high, test);
            asm.load(high(argument), masked)
        }
    }
}

/// If every alternative compares one and the same argument: the ranges of its values, each from its first value to the
/// next range's, with their actions. Dozens of equalities (the families of socket(2)) become a few ranges that way.
fn pieces(
    alternatives: &[(Vec<Condition>, u32)],
    otherwise: u32,
    arch: Arch,
) -> Option<(u8, Vec<(u64, u32)>)> {
    let argument = alternatives.first()?.0.first()?.argument;
    let limit = if arch.is_32_bit() {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let mut starts = vec![0];
    for (conditions, _) in alternatives {
        let [condition] = conditions.as_slice() else {
            return None;
        };
        if condition.argument != argument || condition.op == Op::MaskedEqual {
            return None;
        }
        let value = condition.value & limit;
        starts.push(value);
        if value < limit {
            starts.push(value + 1);
        }
    }
    starts.sort_unstable();
    starts.dedup();
    // Larger values would need a tree over both halves; nobody compares such ranges.
    if starts.last().is_some_and(|start| *start > 1 << 32) {
        return None;
    }
    let holds = |condition: &Condition, value: u64| {
        let wanted = condition.value & limit;
        match condition.op {
            Op::NotEqual => value != wanted,
            Op::Less => value < wanted,
            Op::LessOrEqual => value <= wanted,
            Op::Equal => value == wanted,
            Op::GreaterOrEqual => value >= wanted,
            Op::Greater => value > wanted,
            Op::MaskedEqual => false,
        }
    };
    let mut pieces: Vec<(u64, u32)> = Vec::new();
    for start in starts {
        let action = alternatives
            .iter()
            .find(|(conditions, _)| holds(&conditions[0], start))
            .map_or(otherwise, |(_, action)| *action);
        if pieces.last().is_none_or(|(_, last)| *last != action) {
            pieces.push((start, action));
        }
    }
    Some((argument, pieces))
}

fn emit_pieces(asm: &mut Assembler, argument: u8, pieces: &[(u64, u32)], arch: Arch) -> Label {
    let beyond = pieces.last().map_or(0, |(_, action)| *action);
    let small: Vec<(u32, u32)> = pieces
        .iter()
        .filter_map(|(start, action)| Some((u32::try_from(*start).ok()?, *action)))
        .collect();
    let tree = super::tree::search(asm, &small, &mut |asm, action| asm.ret(*action));
    let rest = asm.load(low(argument), tree);
    if arch.is_32_bit() {
        return rest;
    }
    let beyond = asm.ret(beyond);
    let test = asm.jump_equal(0, rest, beyond);
    asm.load(high(argument), test)
}
