//! What the runtime says: on stderr for people, in the file of `--log` for engines, which read the reason of a failure
//! from its last line (containerd's runtime v2 shim, `getLastRuntimeError`).

use std::fs::{File, OpenOptions};
use std::io::Write;

use nix::errno::Errno;
use serde_json::json;

use super::args::Args;
use crate::error::{Error, Result};
use crate::shim::clock;

/// Where messages go.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    /// `--log-format json`: the three keys of runc's lines, `level`, `msg` and `time`.
    json: bool,
    /// `--debug`.
    debug: bool,
}

impl Log {
    /// Opens the file of `--log`, which exists from then on, as engines expect it.
    pub fn open(global: &Args) -> Result<Self> {
        let json = match global.value("log-format").unwrap_or("text") {
            "" | "text" => false,
            "json" => true,
            other => {
                return Err(Error::invalid(format!("invalid log-format: {other}"))
                    .hint("text and json are known"));
            }
        };
        let open = |path: &str| {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).open(path);
            file.map_err(|e| {
                let errno = Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
                Error::at("log", "open", path, errno)
            })
        };
        let path = global.value("log").filter(|path| !path.is_empty());
        Ok(Self {
            file: path.map(open).transpose()?,
            json,
            debug: global.has("debug"),
        })
    }

    /// The reason why the command fails.
    pub fn error(&self, error: &Error) {
        self.line("error", &error.to_string());
        // Whoever started this by hand has not looked into the file.
        if self.file.is_some() {
            say(&format!("pyd-runtime: {error}"));
        }
    }

    /// What could not be had and was left out. With a file there and not on stderr, which after `create` is the
    /// container's.
    pub fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            self.line("warning", warning);
        }
    }

    /// For `--debug`.
    pub fn debug(&self, message: &str) {
        if self.debug {
            self.line("debug", message);
        }
    }

    fn line(&self, level: &str, message: &str) {
        let time = clock::now();
        let line = if self.json {
            json!({ "level": level, "msg": message, "time": time }).to_string()
        } else if self.file.is_some() {
            format!("time=\"{time}\" level={level} msg={message:?}")
        } else if level == "error" {
            format!("pyd-runtime: {message}")
        } else {
            format!("pyd-runtime: {level}: {message}")
        };
        match self.file.as_ref() {
            // A log that cannot be written changes nothing about what is done.
            Some(mut file) => {
                let _ = writeln!(file, "{line}");
            }
            None => say(&line),
        }
    }
}

fn say(line: &str) {
    // Whether anybody reads it or not, the exit status is what it is.
    let _ = writeln!(std::io::stderr(), "{line}");
}
