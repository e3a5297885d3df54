//! The search for a call's number: a balanced tree over ranges of numbers with the same verdict.

use super::Arch;
use super::assembler::{Assembler, Label};
use super::conditions::{self, Verdict};
use super::numbers::Calls;

/// Code that takes the number of the call, already loaded, to its verdict.
pub fn emit(asm: &mut Assembler, calls: &Calls, arch: Arch) -> Label {
    // Equal code of several calls is emitted once (mmap and mmap2, say).
    let mut shared: Vec<(&Verdict, Label)> = Vec::new();
    search(asm, &calls.ranges(), &mut |asm, verdict: &&Verdict| {
        if let Verdict::Always(action) = verdict {
            return asm.ret(*action);
        }
        if let Some((_, label)) = shared.iter().find(|(known, _)| known == verdict) {
            return *label;
        }
        let label = conditions::emit(asm, verdict, arch);
        shared.push((verdict, label));
        label
    })
}

/// Code that finds the range of the loaded value. Each range reaches from its start to the next one's; the first starts
/// at 0. Neighbours must differ.
pub fn search<T: PartialEq>(
    asm: &mut Assembler,
    ranges: &[(u32, T)],
    leaf: &mut dyn FnMut(&mut Assembler, &T) -> Label,
) -> Label {
    match ranges {
        [] => unreachable!("a range starts at 0"),
        [(_, only)] => leaf(asm, only),
        // One number in the middle of others that are alike: a single test.
        [(_, around), (number, inside), (next, after)]
            if around == after && *next == number + 1 =>
        {
            let no = leaf(asm, around);
            let yes = leaf(asm, inside);
            asm.jump_equal(*number, yes, no)
        }
        _ => {
            let middle = ranges.len() / 2;
            let right = search(asm, &ranges[middle..], leaf);
            let left = search(asm, &ranges[..middle], leaf);
            asm.jump_greater_or_equal(ranges[middle].0, right, left)
        }
    }
}
