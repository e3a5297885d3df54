//! The container's log on disk: Docker's json-file lines, cut at 16 KiB, rotated `x-json.log` -> `.1` -> `.2` ...
//!
//! A log that cannot be written never stops the container: lines are dropped and counted, and the next one is
//! tried afresh, so that logging resumes when the disk has room again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{clock, jsonline};

/// Docker cuts a line without newline after this many bytes; the readers join what has no newline at its end.
pub const MAX_LINE: usize = 16 * 1024;
/// Encoded bytes that are gathered before a write(2).
const BATCH: usize = 64 * 1024;

/// A log that takes two streams and remembers the unfinished line of each.
#[derive(Debug)]
pub struct Log {
    file: Option<LogFile>,
    unfinished: [Vec<u8>; 2],
    encoded: Vec<u8>,
    dropped: u64,
}

impl Log {
    /// A log that forgets everything (driver `none`).
    pub fn none() -> Log {
        Log::new(None)
    }

    /// Opens or continues `path`. `max_size` in bytes, 0 for no bound; `max_file` counts the current file too.
    pub fn json_file(path: &Path, max_size: u64, max_file: u32) -> io::Result<Log> {
        Ok(Log::new(Some(LogFile::open(path, max_size, max_file)?)))
    }

    fn new(file: Option<LogFile>) -> Log {
        Log {
            file,
            unfinished: [Vec::new(), Vec::new()],
            encoded: Vec::new(),
            dropped: 0,
        }
    }

    /// Lines lost because the file could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes `bytes` that `stream` (0 stdout, 1 stderr) wrote.
    pub fn write(&mut self, stream: usize, mut bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let time = clock::now();
        let mut batch = Batch {
            file,
            encoded: &mut self.encoded,
            lines: 0,
            lost: 0,
            name: ["stdout", "stderr"][stream],
            time: &time,
        };
        let unfinished = &mut self.unfinished[stream];
        while !bytes.is_empty() {
            let newline = memchr(bytes);
            let line = newline.map_or(bytes.len(), |at| at + 1);
            let take = line.min(MAX_LINE - unfinished.len());
            let (part, rest) = bytes.split_at(take);
            let complete = newline.is_some() && take == line;
            bytes = rest;
            if complete && unfinished.is_empty() {
                batch.line(part);
                continue;
            }
            unfinished.extend_from_slice(part);
            if complete {
                batch.line(unfinished);
                unfinished.clear();
            } else if unfinished.len() == MAX_LINE {
                let cut = whole_characters(unfinished);
                batch.line(&unfinished[..cut]);
                unfinished.drain(..cut);
            }
        }
        batch.flush();
        self.dropped += batch.lost;
        self.release();
    }

    /// Writes what has no newline yet; call when nothing more will come.
    pub fn finish(&mut self) {
        for stream in 0..2 {
            let rest = std::mem::take(&mut self.unfinished[stream]);
            let Some(file) = &mut self.file else { return };
            if !rest.is_empty() {
                let time = clock::now();
                let mut batch = Batch {
                    file,
                    encoded: &mut self.encoded,
                    lines: 0,
                    lost: 0,
                    name: ["stdout", "stderr"][stream],
                    time: &time,
                };
                batch.line(&rest);
                batch.flush();
                self.dropped += batch.lost;
            }
        }
    }

    /// Gives large buffers back: a quiet container must not keep what a loud second of it needed.
    fn release(&mut self) {
        if self.encoded.capacity() > MAX_LINE {
            self.encoded = Vec::new();
        }
        for unfinished in &mut self.unfinished {
            if unfinished.is_empty() && unfinished.capacity() > 1024 {
                *unfinished = Vec::new();
            }
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}

/// The length of `bytes` without a character that its end cuts. Docker cuts anywhere and logs two damaged
/// characters; no reader minds a piece that is up to three bytes shorter.
fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes
        .utf8_chunks()
        .last()
        .map_or(0, |chunk| chunk.invalid().len());
    let cut = bytes.len() - last;
    // A lone bad byte is at the end of the last chunk as well; only a started sequence can still become whole.
    let started = bytes
        .get(cut)
        .is_some_and(|byte| (0xc2..=0xf4).contains(byte));
    if started && cut > 0 { cut } else { bytes.len() }
}

struct Batch<'a> {
    file: &'a mut LogFile,
    encoded: &'a mut Vec<u8>,
    lines: u64,
    lost: u64,
    name: &'static str,
    time: &'a str,
}

impl Batch<'_> {
    fn line(&mut self, text: &[u8]) {
        let before = self.encoded.len();
        jsonline::write(self.encoded, text, self.name, self.time);
        if self.file.is_full(self.encoded.len(), before) {
            let line = self.encoded.split_off(before);
            self.flush();
            if self.file.rotate().is_err() {
                // Beyond its bound the file does not go: a log that fills the disk hurts more than a lost line.
                self.lost += 1;
                return;
            }
            *self.encoded = line;
        }
        self.lines += 1;
        if self.encoded.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.encoded.is_empty() && self.file.append(self.encoded).is_err() {
            self.lost += self.lines;
        }
        self.encoded.clear();
        self.lines = 0;
    }
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_file: u32,
}

impl LogFile {
    fn open(path: &Path, max_size: u64, max_file: u32) -> io::Result<LogFile> {
        let file = options().open(path)?;
        let size = file.metadata()?.len();
        let mut log = LogFile {
            path: path.to_owned(),
            file,
            size,
            max_size,
            max_file: max_file.max(1),
        };
        // A monitor that was killed in the middle of a write leaves half a line, which must not swallow ours.
        let mut last = [b'\n'];
        if size > 0 && log.file.read_at(&mut last, size - 1)? == 1 && last != [b'\n'] {
            log.append(b"\n")?;
        }
        Ok(log)
    }

    fn is_full(&self, pending: usize, before: usize) -> bool {
        self.max_size > 0
            && self.size + pending as u64 > self.max_size
            && self.size + before as u64 > 0
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.size += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // A full disk takes the first half of a batch: cut it off, so that the file stays whole lines.
                let _ = self.file.set_len(self.size);
                Err(error)
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.max_file == 1 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        for older in (1..self.max_file).rev() {
            let from = if older == 1 {
                self.path.clone()
            } else {
                self.numbered(older - 1)
            };
            match fs::rename(from, self.numbered(older)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = options().open(&self.path)?;
        self.size = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // O_NOFOLLOW: the directory is the engine's own, a link in it would be someone's trick. 0640 is Docker's mode.
    options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path =
                std::env::temp_dir().join(format!("pyd-logfile-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Dir(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("x-json.log")
        }

        fn lines(&self, name: &str) -> Vec<(String, String)> {
            let text = fs::read_to_string(self.0.join(name)).unwrap();
            text.lines()
                .map(|line| {
                    let value: serde_json::Value = serde_json::from_str(line).unwrap();
                    let field = |key: &str| value[key].as_str().unwrap().to_owned();
                    assert_eq!(field("time").len(), 30);
                    (field("stream"), field("log"))
                })
                .collect()
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn lines_come_whole_whatever_the_reads_were() {
        let dir = Dir::new("whole");
        let mut log = Log::json_file(&dir.log(), 0, 1).unwrap();
        for byte in b"one\ntwo\n" {
            log.write(0, &[*byte]);
        }
        log.write(1, b"err");
        log.write(0, b"three\nfo");
        log.write(0, b"ur\nrest");
        log.finish();
        let want = [
            ("stdout", "one\n"),
            ("stdout", "two\n"),
            ("stdout", "three\n"),
            ("stdout", "four\n"),
            ("stdout", "rest"),
            ("stderr", "err"),
        ];
        let want: Vec<_> = want.map(|(s, l)| (s.to_owned(), l.to_owned())).into();
        assert_eq!(dir.lines("x-json.log"), want);
    }

    #[test]
    fn long_lines_are_cut_at_sixteen_kib_between_characters() {
        let dir = Dir::new("long");
        let mut log = Log::json_file(&dir.log(), 0, 1).unwrap();
        let text = format!("a{}\n", "€".repeat(20_000));
        for piece in text.as_bytes().chunks(5_000) {
            log.write(0, piece);
        }
        log.finish();
        let lines = dir.lines("x-json.log");
        assert_eq!(lines.len(), 4);
        assert!(
            lines
                .iter()
                .all(|(_, line)| line.len() <= MAX_LINE && !line.contains('\u{fffd}'))
        );
        assert_eq!(
            lines
                .iter()
                .map(|(_, line)| line.as_str())
                .collect::<String>(),
            text
        );
    }

    #[test]
    fn binary_without_newline_is_cut_too() {
        let dir = Dir::new("binary");
        let mut log = Log::json_file(&dir.log(), 0, 1).unwrap();
        log.write(0, &vec![0xff; 3 * MAX_LINE + 5]);
        log.finish();
        let lengths: Vec<_> = dir
            .lines("x-json.log")
            .iter()
            .map(|l| l.1.chars().count())
            .collect();
        assert_eq!(lengths, [MAX_LINE, MAX_LINE, MAX_LINE, 5]);
    }

    #[test]
    fn rotation_keeps_max_file_files_of_max_size() {
        let dir = Dir::new("rotate");
        let mut log = Log::json_file(&dir.log(), 1000, 3).unwrap();
        for number in 0..100 {
            log.write(0, format!("line {number}\n").as_bytes());
        }
        log.finish();
        let mut names: Vec<_> = fs::read_dir(&dir.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        let mut numbers = Vec::new();
        for name in ["x-json.log.2", "x-json.log.1", "x-json.log"] {
            assert!(fs::metadata(dir.0.join(name)).unwrap().len() <= 1000);
            numbers.extend(dir.lines(name).into_iter().map(|l| l.1));
        }
        let first = 100 - numbers.len();
        let want: Vec<_> = (first..100).map(|n| format!("line {n}\n")).collect();
        assert_eq!(numbers, want);
    }

    #[test]
    fn one_read_of_many_lines_rotates_in_the_middle() {
        let dir = Dir::new("middle");
        let mut log = Log::json_file(&dir.log(), 500, 10).unwrap();
        log.write(0, "0123456789\n".repeat(40).as_bytes());
        log.finish();
        let total: usize = fs::read_dir(&dir.0)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                assert!(entry.metadata().unwrap().len() <= 500);
                dir.lines(entry.file_name().to_str().unwrap()).len()
            })
            .sum();
        assert_eq!(total, 40);
    }

    #[test]
    fn max_file_one_starts_the_file_again() {
        let dir = Dir::new("single");
        let mut log = Log::json_file(&dir.log(), 200, 1).unwrap();
        for number in 0..50 {
            log.write(0, format!("line {number}\n").as_bytes());
        }
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
        assert_eq!(dir.lines("x-json.log").last().unwrap().1, "line 49\n");
    }

    #[test]
    fn continues_an_old_file_and_its_half_line() {
        let dir = Dir::new("half");
        fs::write(dir.log(), "{\"log\":\"cut").unwrap();
        let mut log = Log::json_file(&dir.log(), 0, 1).unwrap();
        log.write(0, b"new\n");
        let text = fs::read_to_string(dir.log()).unwrap();
        assert!(text.starts_with("{\"log\":\"cut\n{\"log\":\"new"), "{text}");
    }

    #[test]
    fn a_full_disk_loses_lines_but_not_the_log() {
        let dir = Dir::new("full");
        let mut log = Log::json_file(&dir.log(), 0, 1).unwrap();
        let real = std::mem::replace(
            &mut log.file.as_mut().unwrap().file,
            File::options().append(true).open("/dev/full").unwrap(),
        );
        log.write(0, b"a\nb\n");
        assert_eq!(log.dropped(), 2);
        log.file.as_mut().unwrap().file = real;
        log.write(0, b"c\n");
        assert_eq!(
            dir.lines("x-json.log"),
            [("stdout".to_owned(), "c\n".to_owned())]
        );
    }

    #[test]
    fn driver_none_keeps_nothing() {
        let mut log = Log::none();
        log.write(0, &[b'x'; 100_000]);
        log.finish();
        assert_eq!(log.unfinished[0].capacity(), 0);
    }
}
