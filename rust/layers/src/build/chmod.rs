//! COPY --chmod: an octal number, or the symbolic modes of chmod(1) without a umask.
use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `u+rX`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Bits of those whom it is about: 0o700, 0o070, 0o007.
    who: u32,
    operator: char,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Any of `rwxXst`.
    Bits(String),
    /// What the user, the group or the others have, as a shift.
    Same(u32),
}

impl Chmod {
    /// Raises Invalid, as Docker says it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = || {
            Error::Invalid(format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777, or \
                 symbolic as in u=rwX,go-w"
            ))
        };
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Self::Octal)
                .ok_or_else(invalid);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clause(part, &mut clauses).ok_or_else(invalid)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The new mode (permissions, setuid, setgid, sticky) of a file that had `mode`.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(wanted) => *wanted,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode, |mode, clause| clause.apply(mode, is_directory)),
        }
    }
}

/// One part between commas: whom, then one or more of operator and bits.
fn clause(text: &str, clauses: &mut Vec<Clause>) -> Option<()> {
    let start = text.find(['+', '-', '='])?;
    let mut who = 0;
    for character in text[..start].chars() {
        who |= match character {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    if who == 0 {
        who = 0o777;
    }
    let mut rest = &text[start..];
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |at| at + 1);
        let bits = &rest[1..end];
        let what = match bits {
            "u" => What::Same(6),
            "g" => What::Same(3),
            "o" => What::Same(0),
            bits if bits.chars().all(|bit| "rwxXst".contains(bit)) => What::Bits(bits.to_owned()),
            _ => return None,
        };
        clauses.push(Clause {
            who,
            operator,
            what,
        });
        rest = &rest[end..];
    }
    Some(())
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = 0;
        match &self.what {
            What::Same(shift) => bits |= (((mode >> shift) & 7) * 0o111) & self.who,
            What::Bits(letters) => {
                for letter in letters.chars() {
                    bits |= match letter {
                        'r' => 0o444 & self.who,
                        'w' => 0o222 & self.who,
                        'x' => 0o111 & self.who,
                        'X' if is_directory || mode & 0o111 != 0 => 0o111 & self.who,
                        's' => {
                            (if self.who & 0o700 != 0 { 0o4000 } else { 0 })
                                | (if self.who & 0o070 != 0 { 0o2000 } else { 0 })
                        }
                        't' if self.who & 0o007 != 0 => 0o1000,
                        _ => 0,
                    };
                }
            }
        }
        let special = (if self.who & 0o700 != 0 { 0o4000 } else { 0 })
            | (if self.who & 0o070 != 0 { 0o2000 } else { 0 })
            | (if self.who == 0o777 { 0o1000 } else { 0 });
        match self.operator {
            '+' => mode | bits,
            '-' => mode & !bits,
            // chmod(1): "=" leaves setuid and setgid of a directory alone unless they are named.
            _ if is_directory => (mode & !self.who) | bits,
            _ => (mode & !(self.who | special)) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        let apply =
            |text: &str, mode, directory| Chmod::parse(text).unwrap().apply(mode, directory);
        assert_eq!(apply("755", 0o600, false), 0o755);
        assert_eq!(apply("04755", 0o600, false), 0o4755);
        assert_eq!(apply("u+x,go-w", 0o666, false), 0o744);
        assert_eq!(apply("+x", 0o640, false), 0o751);
        assert_eq!(apply("a=rX", 0o640, false), 0o444);
        assert_eq!(apply("a=rX", 0o640, true), 0o555);
        assert_eq!(apply("u=rwX,go=rX", 0o700, false), 0o755);
        assert_eq!(apply("g=u", 0o740, false), 0o770);
        assert_eq!(apply("o=g-w", 0o770, false), 0o775);
        assert_eq!(apply("u+s,g+s,+t", 0o755, false), 0o7755);
        assert_eq!(apply("u=rwx", 0o4600, false), 0o700);
        assert_eq!(apply("go=", 0o777, true), 0o700);
    }

    #[test]
    fn what_is_no_mode() {
        for text in [
            "", "8", "99", "10000", "u", "u+q", "z+x", "u+x,", "rwx", "0x1ff", "+ug", "u+x y",
        ] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
