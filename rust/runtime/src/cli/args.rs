//! Command line arguments as runc takes them: `--name value`, `--name=value`, `-n value`, and words among them. Go's
//! flag package, which runc uses, takes `-name` for `--name` as well, and engines make use of it (`-no-subreaper`).

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
    /// Parses until `--` or until `words` words have been seen; all that follows are words. `--help` and `-h` are
    /// options of every command.
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
            if argument == "-" || !argument.starts_with('-') {
                parsed.words.push(argument);
                continue;
            }
            let (flag, inline) = find(flags, &argument).ok_or_else(|| {
                Error::invalid(format!("unknown option {argument}"))
                    .hint("--help lists what there is")
            })?;
            let value = match (flag.value, inline) {
                (true, Some(value)) => value,
                (true, None) => rest
                    .next()
                    .transpose()?
                    .ok_or_else(|| Error::invalid(format!("--{} needs a value", flag.name)))?,
                (false, None) => "true".to_owned(),
                (false, Some(value)) => {
                    boolean(&value).map(|on| on.to_string()).ok_or_else(|| {
                        Error::invalid(format!("--{} is true or false, not {value:?}", flag.name))
                    })?
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

    /// The container's id, which is the first word of every command that takes words.
    pub fn id(&self) -> Result<&str> {
        match self.words.first() {
            Some(id) if !id.is_empty() => Ok(id),
            _ => Err(Error::invalid("container id cannot be empty")),
        }
    }
}

const HELP: Flag = switch("help", Some('h'), "print this help");

/// The flag that an argument with a dash names, and the value that it brings along.
fn find<'a>(flags: &'a [Flag], argument: &str) -> Option<(&'a Flag, Option<String>)> {
    let text = argument.strip_prefix("--").or(argument.strip_prefix('-'))?;
    let (name, inline) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let mut all = flags.iter().chain([&HELP]);
    if let Some(flag) = all.clone().find(|flag| flag.name == name) {
        return Some((flag, inline));
    }
    if argument.starts_with("--") {
        return None;
    }
    let mut letters = text.chars();
    let letter = letters.next();
    let rest = letters.as_str();
    let flag = all.find(|flag| flag.short == letter)?;
    match rest.strip_prefix('=') {
        Some(value) => Some((flag, Some(value.to_owned()))),
        None if rest.is_empty() => Some((flag, None)),
        // Switches are not joined: `-dt` is no option, `-eA=B` is.
        None => flag.value.then(|| (flag, Some(rest.to_owned()))),
    }
}

/// What Go's strconv.ParseBool takes.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
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
        assert!(!parse("-detach=0", usize::MAX).unwrap().has("detach"));
        assert!(parse("a --help", usize::MAX).unwrap().has("help"));
        assert_eq!(parse("-bundle /x", 1).unwrap().value("bundle"), Some("/x"));
        for line in ["--nope", "-x", "-dd", "--d", "--bundle", "--detach=maybe"] {
            assert!(parse(line, usize::MAX).is_err(), "{line}");
        }
    }
}
