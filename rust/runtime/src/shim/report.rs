//! The one line that tells the starter how the start went.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use serde::Serialize;

use crate::error::Error;

/// The pipe to the starter; used once.
#[derive(Debug)]
pub struct Report(Option<File>);

#[derive(Serialize)]
struct Started<'a> {
    pid: i32,
    shim_pid: u32,
    started_at: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a Error,
}

impl Report {
    /// `None`: nobody asked for a report.
    pub fn new(fd: Option<OwnedFd>) -> Report {
        Report(fd.map(File::from))
    }

    /// The container's process `pid` runs, though not with what `warnings` name.
    pub fn started(self, pid: i32, started_at: &str, warnings: &[String]) {
        self.send(&Started {
            pid,
            shim_pid: std::process::id(),
            started_at,
            warnings,
        });
    }

    /// Nothing runs and nothing is left.
    pub fn failed(self, error: &Error) {
        self.send(&Failed { error });
    }

    fn send(self, line: &impl Serialize) {
        let Some(mut pipe) = self.0 else { return };
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        // A starter that died meanwhile does not stop a container: the lock and the socket tell the next one.
        let _ = pipe.write_all(&text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read(report: impl FnOnce(Report)) -> serde_json::Value {
        let (mut reader, writer) = std::io::pipe().unwrap();
        report(Report::new(Some(writer.into())));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("}\n") && text.lines().count() == 1);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_start_tells_both_pids() {
        let value = read(|report| report.started(42, "T", &[]));
        assert_eq!(value["pid"], 42);
        assert_eq!(value["shim_pid"], std::process::id());
        assert_eq!(value["started_at"], "T");
        assert_eq!(value.get("warnings"), None);
        let value = read(|report| report.started(42, "T", &["no swap".to_owned()]));
        assert_eq!(value["warnings"][0], "no swap");
    }

    #[test]
    fn a_failure_carries_the_error_s_fields() {
        let error = Error::at("mounts", "mount", "/x", nix::errno::Errno::ENOENT).hint("create it");
        let value = read(|report| report.failed(&error));
        assert_eq!(value["error"]["op"], "mount");
        assert_eq!(value["error"]["errno"], 2);
        assert_eq!(value["error"]["exit_code"], 125);
        assert_eq!(value["error"]["hint"], "create it");
    }

    #[test]
    fn a_dead_starter_is_no_error() {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Report::new(Some(writer.into())).started(1, "T", &[]);
        Report::new(None).started(1, "T", &[]);
    }
}
