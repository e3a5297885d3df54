//! What a hostile container tries on every process that appears beside it: the runtime on its way in.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// A word that the runtime has in its environment and the container must not read there.
const CANARY: &[u8] = b"PYD_TEST_CANARY";
/// Executables that are held open until they can be opened for writing.
const HELD: usize = 64;

/// Prints "ready", then each different thing that it gets hold of, until `seconds` have passed or `/tmp/stop` exists;
/// at last "saw N": how many pids it met under the runtime's name.
pub fn hunt(seconds: u64) -> io::Result<()> {
    println!("ready");
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut hunter = Hunter::new()?;
    while Instant::now() < until && !Path::new("/tmp/stop").exists() {
        hunter.round()?;
    }
    // The runtime of the last command may not have ended yet, and a running program cannot be opened for writing.
    thread::sleep(Duration::from_millis(200));
    hunter.round()?;
    println!("saw {}", hunter.met.len());
    io::stdout().flush()
}

struct Hunter {
    root: (u64, u64),
    met: HashSet<String>,
    told: HashSet<String>,
    held: Vec<File>,
}

impl Hunter {
    fn new() -> io::Result<Self> {
        let root = fs::metadata("/")?;
        Ok(Self {
            root: (root.dev(), root.ino()),
            met: HashSet::new(),
            told: HashSet::new(),
            held: Vec::new(),
        })
    }

    fn round(&mut self) -> io::Result<()> {
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let pid = name.to_string_lossy();
            if pid.bytes().all(|b| b.is_ascii_digit()) {
                self.process(&format!("/proc/{pid}"));
            }
        }
        // While a program runs it cannot be opened for writing; whoever holds it open waits until it has ended.
        let open: Vec<i32> = self.held.iter().map(AsRawFd::as_raw_fd).collect();
        for fd in open {
            self.try_to_write(&format!("/proc/self/fd/{fd}"));
        }
        Ok(())
    }

    fn process(&mut self, proc: &str) {
        let is_runtime = || {
            fs::read_to_string(format!("{proc}/comm"))
                .is_ok_and(|name| name.trim() == "pyd-runtime")
        };
        let exe = format!("{proc}/exe");
        if fs::read_link(&exe).is_ok_and(|target| foreign(&target.to_string_lossy())) {
            self.try_to_write(&exe);
            if let Ok(file) = File::open(&exe)
                && self.held.len() < HELD
            {
                self.held.push(file);
            }
            if let Ok(maps) = fs::read_dir(format!("{proc}/map_files")) {
                maps.flatten()
                    .for_each(|map| self.try_to_write(&map.path().to_string_lossy()));
            }
        }
        if !is_runtime() {
            return;
        }
        self.met.insert(proc.to_owned());
        let found = self.loot(proc);
        // It may have become the container's command meanwhile, whose things are the container's.
        if is_runtime() {
            found.into_iter().for_each(|what| self.tell(what));
        }
    }

    /// What can be had of a process that is the runtime's.
    fn loot(&self, proc: &str) -> Vec<String> {
        let mut found = Vec::new();
        if let Ok(root) = fs::metadata(format!("{proc}/root/"))
            && (root.dev(), root.ino()) != self.root
        {
            found.push("root".to_owned());
        }
        for name in ["exe", "cwd"] {
            if let Ok(target) = fs::read_link(format!("{proc}/{name}")) {
                found.push(format!("{name} {}", target.display()));
            }
        }
        for entry in fs::read_dir(format!("{proc}/fd")).into_iter().flatten() {
            if let Ok(target) = entry.and_then(|fd| fs::read_link(fd.path())) {
                let kind = target.to_string_lossy().into_owned();
                found.push(format!("fd {}", kind.split(":[").next().unwrap_or(&kind)));
            }
        }
        if File::open(format!("{proc}/mem")).is_ok() {
            found.push("mem".to_owned());
        }
        let mut environment = Vec::new();
        let read =
            File::open(format!("{proc}/environ")).and_then(|mut f| f.read_to_end(&mut environment));
        if read.is_ok() && environment.windows(CANARY.len()).any(|part| part == CANARY) {
            found.push("environ".to_owned());
        }
        found
    }

    /// Opens for writing, and writes nothing: the file may be the runtime of this machine.
    fn try_to_write(&mut self, path: &str) {
        let target = fs::read_link(path).unwrap_or_default();
        let target = target.to_string_lossy();
        if foreign(&target) && OpenOptions::new().append(true).open(path).is_ok() {
            let name = target.rsplit('/').next().unwrap_or(&target);
            self.tell(format!("writable {name}"));
        }
    }

    fn tell(&mut self, what: String) {
        if self.told.insert(what.clone()) {
            println!("{what}");
        }
    }
}

/// Whether it is a program of the engine's: "/" is one that was executed from a mount of its own.
fn foreign(target: &str) -> bool {
    target == "/" || target.contains("pyd-runtime") || target.contains("memfd:")
}
