//! `pyd-runtime shim --bundle DIR [--report-fd N] [--attach-fd N]`: the monitor of one container.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::shim::{self, Options};

/// Exit code for a command line that is wrong; nobody but a developer sees it.
const USAGE: u8 = 125;

#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    bundle: PathBuf,
    report: Option<RawFd>,
    attach: Option<RawFd>,
}

/// Runs the monitor; `arguments` without the program's name and `shim`. Gives the process's exit code.
///
/// Must be called before anything else is opened: it closes every descriptor that is not named.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let options = match parse(arguments).and_then(claim) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("pyd-runtime shim: {message}");
            return USAGE;
        }
    };
    u8::from(!shim::run(options))
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, String> {
    let mut parsed = Arguments::default();
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or(format!("{} needs a value", name.display()))
        };
        match name.to_str() {
            Some("--bundle") => parsed.bundle = value()?.into(),
            Some("--report-fd") => parsed.report = Some(number(&value()?)?),
            Some("--attach-fd") => parsed.attach = Some(number(&value()?)?),
            _ => return Err(format!("unknown argument {}", name.display())),
        }
    }
    if !parsed.bundle.is_absolute() {
        return Err("--bundle must be an absolute path".to_owned());
    }
    if parsed.report.is_some() && parsed.report == parsed.attach {
        return Err("--report-fd and --attach-fd must differ".to_owned());
    }
    Ok(parsed)
}

fn number(text: &OsString) -> Result<RawFd, String> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .filter(|&number| number >= 3)
        .ok_or(format!("{} is not a descriptor from 3 on", text.display()))
}

fn claim(arguments: Arguments) -> Result<Options, String> {
    let mut numbers: Vec<RawFd> = arguments
        .report
        .into_iter()
        .chain(arguments.attach)
        .collect();
    numbers.sort_unstable();
    let mut claimed = pyd_sys::inherit::claim(&numbers)
        .map_err(|errno| format!("descriptors {numbers:?}: {errno}"))?;
    let attach_is_last = arguments.attach > arguments.report;
    let second = (claimed.len() == 2).then(|| claimed.pop()).flatten();
    let first = claimed.pop();
    let (report, attach) = match (arguments.report, arguments.attach) {
        (Some(_), Some(_)) if attach_is_last => (first, second),
        (Some(_), Some(_)) => (second, first),
        (Some(_), None) => (first, None),
        (None, _) => (None, first),
    };
    Ok(Options {
        bundle: arguments.bundle,
        report,
        attach,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_engine_s_line_is_understood() {
        let want = Arguments {
            bundle: "/b".into(),
            report: Some(3),
            attach: Some(4),
        };
        assert_eq!(
            parsed("--bundle /b --report-fd 3 --attach-fd 4").unwrap(),
            want
        );
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "--bundle",
            "--bundle relative",
            "--bundle /b --report-fd 2",
            "--bundle /b --report-fd x",
            "--bundle /b --report-fd 3 --attach-fd 3",
            "--bundle /b extra",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
