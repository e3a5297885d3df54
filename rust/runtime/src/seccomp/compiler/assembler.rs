//! Classic BPF, assembled from the last instruction to the first: the target of a jump always exists already.

/// `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

// Operation codes (linux/bpf_common.h).
pub const LOAD: u16 = 0x20;
pub const AND: u16 = 0x54;
pub const JUMP: u16 = 0x05;
pub const JUMP_EQUAL: u16 = 0x15;
pub const JUMP_GREATER: u16 = 0x25;
pub const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
pub const RETURN: u16 = 0x06;

/// A place in the program, counted from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// Conditional jumps reach 255 instructions; two places are kept for bridges put in between.
const REACH: usize = 255 - 2;

#[derive(Debug, Default)]
pub struct Assembler {
    /// Last instruction first.
    reversed: Vec<Instruction>,
    returns: Vec<(u32, Label)>,
}

impl Assembler {
    fn push(&mut self, code: u16, jt: usize, jf: usize, k: u32) -> Label {
        self.reversed.push(Instruction {
            code,
            jt: jt as u8,
            jf: jf as u8,
            k,
        });
        Label(self.reversed.len() - 1)
    }

    /// How many instructions lie between the next one and `target`.
    fn distance(&self, target: Label) -> usize {
        self.reversed.len() - target.0 - 1
    }

    /// Ends with an action. Uses an equal instruction that is near instead of a new one.
    pub fn ret(&mut self, action: u32) -> Label {
        let known = self.returns.iter().position(|(known, _)| *known == action);
        if let Some(index) = known {
            let label = self.returns[index].1;
            // Well within reach, for there will be code between here and the jump.
            if self.distance(label) < REACH / 2 {
                return label;
            }
            self.returns.swap_remove(index);
        }
        let label = self.push(RETURN, 0, 0, action);
        self.returns.push((action, label));
        label
    }

    /// Loads 32 bits of the call's data, then goes on at `next`.
    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.fall_through(next);
        self.push(LOAD, 0, 0, offset)
    }

    /// Masks the loaded value, then goes on at `next`.
    pub fn and(&mut self, mask: u32, next: Label) -> Label {
        self.fall_through(next);
        self.push(AND, 0, 0, mask)
    }

    pub fn jump_equal(&mut self, k: u32, yes: Label, no: Label) -> Label {
        self.branch(JUMP_EQUAL, k, yes, no)
    }

    pub fn jump_greater(&mut self, k: u32, yes: Label, no: Label) -> Label {
        self.branch(JUMP_GREATER, k, yes, no)
    }

    pub fn jump_greater_or_equal(&mut self, k: u32, yes: Label, no: Label) -> Label {
        self.branch(JUMP_GREATER_OR_EQUAL, k, yes, no)
    }

    fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        self.push(code, self.distance(yes), self.distance(no), k)
    }

    /// The target itself if a conditional jump reaches it, else a bridge to it.
    fn near(&mut self, target: Label) -> Label {
        if self.distance(target) <= REACH {
            return target;
        }
        self.bridge(target)
    }

    /// An action is copied, anything else jumped to: an unconditional jump has 32 bits.
    fn bridge(&mut self, target: Label) -> Label {
        let there = self.reversed[target.0];
        if there.code == RETURN {
            return self.ret(there.k);
        }
        let distance = self.distance(target);
        self.push(JUMP, 0, 0, distance as u32)
    }

    fn fall_through(&mut self, next: Label) {
        if self.distance(next) != 0 {
            let distance = self.distance(next);
            let there = self.reversed[next.0];
            if there.code == RETURN {
                self.push(RETURN, 0, 0, there.k);
            } else {
                self.push(JUMP, 0, 0, distance as u32);
            }
        }
    }

    pub fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }
}
