//! Command line arguments as runc takes them: `--name value`, `--name=value`, `-n value`, then words.

use std::ffi::OsString;

use crate::error::{Error, Result};

/// One option of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    pub short: Option<char>,
    /// Whether a value follows.
    pub value: bool,
    /// One line for `--help`.
    pub help: &'static str,
}

/// An option with a value.
pub const fn value(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag {
        name,
        short,
        value: true,
        help,
    }
}

/// An option that is there or not.
pub const fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag {
        name,
        short,
        value: false,
        help,
    }
}

/// What was given.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Args {
    options: Vec<(&'static str, String)>,
    /// What is not an option, in order.
    pub words: Vec<String>,
}

impl Args {
    /// Parses until `--` or until `words` words have been seen; all that follows are words.
    pub fn parse(arguments: &mut Vec<OsString>, flags: &[Flag], words: usize) -> Result<Self> {
        let mut parsed = Self::default();
        let mut rest = std::mem::take(arguments).into_iter().map(|argument| {
            argument
                .into_string()
                .map_err(|bad| Error::invalid(format!("argument {} is not UTF-8", bad.display())))
        });
        while parsed.words.len() < words {
            let Some(argument) = rest.next().transpose()? else {
                return Ok(parsed);
            };
            if argument == "--" {
                break;
            }
            let (flag, inline) = match argument.strip_prefix("--") {
                Some(long) => {
                    let (name, inline) = match long.split_once('=') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (long, None),
                    };
                    (flags.iter().find(|flag| flag.name == name), inline)
                }
                None => match argument.strip_prefix('-').filter(|short| !short.is_empty()) {
                    Some(short) => {
                        let mut letters = short.chars();
                        let letter = letters.next();
                        let inline = Some(letters.as_str()).filter(|text| !text.is_empty());
                        let inline =
                            inline.map(|text| text.strip_prefix('=').unwrap_or(text).to_owned());
                        (flags.iter().find(|flag| flag.short == letter), inline)
                    }
                    None => {
                        parsed.words.push(argument);
                        continue;
                    }
                },
            };
            let flag = flag.ok_or_else(|| Error::invalid(format!("unknown option {argument}")))?;
            let value = match (flag.value, inline) {
                (true, Some(value)) => value,
                (true, None) => rest
                    .next()
                    .transpose()?
                    .ok_or_else(|| Error::invalid(format!("--{} needs a value", flag.name)))?,
                (false, None) => "true".to_owned(),
                (false, Some(value)) if value == "true" || value == "false" => value,
                (false, Some(_)) => {
                    return Err(Error::invalid(format!("--{} takes no value", flag.name)));
                }
            };
            parsed.options.push((flag.name, value));
        }
        for word in rest {
            parsed.words.push(word?);
        }
        Ok(parsed)
    }

    /// The last value of an option.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of an option.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.options
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// The value of an option as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Error::invalid(format!("--{name} \"{text}\" is not a number that fits"))
            })
        };
        self.value(name).map(parse).transpose()
    }

    /// The only word.
    pub fn id(&self) -> Result<&str> {
        match self.words.as_slice() {
            [id] => Ok(id),
            [] => Err(Error::invalid("the container's id is missing")),
            [_, extra, ..] => Err(Error::invalid(format!("unexpected argument {extra:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        value("bundle", Some('b'), ""),
        value("env", Some('e'), ""),
        switch("detach", Some('d'), ""),
    ];

    fn parse(line: &str, words: usize) -> Result<Args> {
        Args::parse(
            &mut line.split_whitespace().map(OsString::from).collect(),
            FLAGS,
            words,
        )
    }

    #[test]
    fn forms() {
        let args = parse("-b /x --env=A=1 -eB=2 --detach id", usize::MAX).unwrap();
        assert_eq!(args.value("bundle"), Some("/x"));
        assert_eq!(args.all("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert!(args.has("detach"));
        assert_eq!(args.id().unwrap(), "id");
    }

    #[test]
    fn a_command_keeps_its_options() {
        let args = parse("-d id ls -l --bundle", 1).unwrap();
        assert_eq!(args.words, ["id", "ls", "-l", "--bundle"]);
        assert_eq!(parse("-- -b", usize::MAX).unwrap().words, ["-b"]);
    }

    #[test]
    fn wrong_lines() {
        for line in ["--nope", "-x", "--bundle", "--detach=maybe"] {
            assert!(parse(line, usize::MAX).is_err(), "{line}");
        }
    }
}
