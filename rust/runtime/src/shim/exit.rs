//! The exit record: how the container ended, on disk before anybody is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use serde::Serialize;

/// What `exit.json`, the `wait` answer and the last frame of an attach carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// The process's code, or 128 + the signal's number.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed a process of the container because of its memory limit.
    pub oom_killed: bool,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// Host pid that the container's first process had.
    pub pid: i32,
    /// What went wrong in the end of the container outside of it; empty normally.
    pub error: String,
}

/// Exit code and signal of a process that is no more.
pub fn code(status: ExitStatus) -> (i32, Option<i32>) {
    match status.signal() {
        Some(signal) => (128 + signal, Some(signal)),
        None => (status.code().unwrap_or(0), None),
    }
}

impl Exit {
    /// Puts the record at `path` so that a reader finds all of it or nothing; `durable`: also after a power cut.
    pub fn write(&self, path: &Path, durable: bool) -> io::Result<()> {
        let temporary = path.with_extension("json.tmp");
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let result = put(&temporary, path, &text, durable);
        if result.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

fn put(temporary: &Path, path: &Path, text: &[u8], durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)?;
    file.write_all(text)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(temporary, path)?;
    if durable {
        // The rename is in the directory, which has a sync of its own.
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_shell_s() {
        assert_eq!(code(ExitStatus::from_raw(3 << 8)), (3, None));
        assert_eq!(code(ExitStatus::from_raw(9)), (137, Some(9)));
        assert_eq!(code(ExitStatus::from_raw(0x80 | 11)), (139, Some(11)));
        assert_eq!(code(ExitStatus::from_raw(34)), (162, Some(34)));
    }

    #[test]
    fn the_record_is_whole_or_absent() {
        let dir = std::env::temp_dir().join(format!("pyd-exit-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("exit.json");
        let exit = Exit {
            exit_code: 137,
            signal: Some(9),
            oom_killed: true,
            started_at: "S".into(),
            finished_at: "F".into(),
            pid: 7,
            error: String::new(),
        };
        exit.write(&path, true).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            r#"{"exit_code":137,"signal":9,"oom_killed":true,"started_at":"S","finished_at":"F","pid":7,"error":""}"#
        );
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            exit.write(&path, true).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
