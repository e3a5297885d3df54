//! What the command line remembers of a container between two calls: `<root>/<id>/`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, Unit};
use crate::create::cgroup_path;
use crate::error::{Error, Result};
use crate::spec::Spec;

/// Layout of [`Record`]. A runtime reads its own and older ones.
const FORMAT: u32 = 1;

/// How to get rid of what cannot be used any more.
const REMEDY: &str = "pyd-runtime delete --force removes what is left of the container";

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// See [`FORMAT`].
    pub format: u32,
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Host pid of init.
    pub pid: i32,
    /// Start of init in clock ticks since boot (`proc_pid_stat(5)` field 22): tells a reused pid.
    pub start_time: u64,
    /// RFC 3339.
    pub created: String,
    pub cgroup: String,
    /// Whether there was a group: without the permission for one there is none to miss later.
    #[serde(default)]
    pub grouped: bool,
    /// The unit of systemd's that the groups belong to (`--systemd-cgroup`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Whether it keeps its maker's session keyring (`--no-new-keyring`); an exec does as well.
    #[serde(default)]
    pub keep_keyring: bool,
    /// Absolute path of the root directory.
    pub rootfs: PathBuf,
}

/// Status of a container (runtime.md, "State", and `paused` as runc has it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// The word in `state`'s answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// An init that was let go: the end of its FIFO.
#[derive(Debug)]
pub struct Released(OwnedFd);

impl Released {
    /// Waits until init has become the command, or has ended: either closes its end, which is close-on-exec.
    pub fn executed(&self) -> Result<()> {
        let mut ends = [PollFd::new(self.0.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut ends, PollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(e) => return Err(Error::os("state", "poll", e)),
            }
        }
    }
}

/// The directory of one container, locked for the life of this value: two commands on one container take turns.
#[derive(Debug)]
pub struct Entry {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Record {
    /// The present layout.
    pub const FORMAT: u32 = FORMAT;
}

impl Entry {
    /// Makes the directory of a new container.
    pub fn create(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let directory = root.join(id);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        builder
            .recursive(true)
            .create(root)
            .map_err(|e| io("mkdir", root, &e))?;
        match builder.recursive(false).create(&directory) {
            Ok(()) => {}
            Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
                return Err(Error::new(
                    "state",
                    format!("container with given ID already exists: {id}"),
                ));
            }
            Err(e) => return Err(io("mkdir", &directory, &e)),
        }
        Self::lock(directory)
    }

    /// Opens the directory of a known container.
    pub fn open(root: &Path, id: &str) -> Result<Self> {
        check_id(id)?;
        let directory = root.join(id);
        match directory.is_dir() {
            true => Self::lock(directory),
            false => Err(Error::new(
                "state",
                format!("container does not exist: {id}"),
            )),
        }
    }

    fn lock(directory: PathBuf) -> Result<Self> {
        let file = File::open(&directory).map_err(|e| io("open", &directory, &e))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, e)| Error::at("state", "flock", &directory, e))?;
        // Whoever had the lock may have deleted the container, and another one may have its name now.
        let same = |held: &File| -> std::io::Result<bool> {
            let (held, named) = (held.metadata()?, fs::metadata(&directory)?);
            Ok((held.dev(), held.ino()) == (named.dev(), named.ino()))
        };
        if !same(&lock).unwrap_or(false) {
            let id = directory.file_name().unwrap_or_default().to_string_lossy();
            return Err(Error::new(
                "state",
                format!("container does not exist: {id}"),
            ));
        }
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the FIFO on which init waits.
    pub fn make_fifo(&self) -> Result<PathBuf> {
        let path = self.fifo();
        mkfifo(&path, Mode::from_bits_truncate(0o600))
            .map_err(|e| Error::at("state", "mkfifo", &path, e))?;
        Ok(path)
    }

    /// Lets init go on; an error when it is not waiting.
    pub fn release(&self) -> Result<Released> {
        let path = self.fifo();
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let fifo: OwnedFd = open(&path, flags, Mode::empty()).map_err(|e| match e {
            Errno::ENXIO | Errno::ENOENT => {
                Error::new("state", "the container's first process is not waiting")
            }
            e => Error::at("state", "open", &path, e),
        })?;
        nix::unistd::write(&fifo, b"s").map_err(|e| Error::at("state", "write", &path, e))?;
        fs::remove_file(&path).map_err(|e| io("unlink", &path, &e))?;
        Ok(Released(fifo))
    }

    /// Keeps the spec, before anything is made from it: it says where to look for what a killed creation leaves.
    pub fn keep(&self, spec: &Spec) -> Result<()> {
        let encode = |e: serde_json::Error| Error::new("state", e.to_string());
        self.put("config.json", &serde_json::to_vec(spec).map_err(encode)?)
    }

    /// Writes the record, once. Readers wait for the lock; a record that a crash has cut off does not parse, and is
    /// then one of a creation that did not finish.
    pub fn save(&self, record: &Record) -> Result<()> {
        let encode = |e: serde_json::Error| Error::new("state", e.to_string());
        self.put("state.json", &serde_json::to_vec(record).map_err(encode)?)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes))
            .map_err(|e| io("write", &path, &e))
    }

    /// The record; an error for a container whose creation did not finish.
    pub fn record(&self) -> Result<Record> {
        let path = self.directory.join("state.json");
        let unusable = |why: String| {
            Err(Error::new("state", format!("{}: {why}", path.display())).hint(REMEDY))
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                return unusable("is missing: the container was not created completely".to_owned());
            }
            Err(e) => return Err(io("read", &path, &e).hint(REMEDY)),
        };
        if bytes.is_empty() {
            return unusable("is empty: the container was not created completely".to_owned());
        }
        // Of another format the other fields may mean anything.
        #[derive(Deserialize)]
        struct Header {
            format: Option<u32>,
        }
        match serde_json::from_slice::<Header>(&bytes) {
            Ok(Header {
                format: Some(1..=FORMAT),
            }) => {}
            Ok(Header {
                format: Some(other),
            }) => {
                return unusable(format!(
                    "was written by another version of pyd-runtime (format {other}, this one reads {FORMAT})"
                ));
            }
            Ok(Header { format: None }) => {
                return unusable(
                    "was not written by pyd-runtime, or by another version of it".to_owned(),
                );
            }
            Err(e) => return unusable(format!("is damaged: {e}")),
        }
        let record: Record = match serde_json::from_slice(&bytes) {
            Ok(record) => record,
            Err(e) => return unusable(format!("is damaged: {e}")),
        };
        match self.directory.ends_with(&record.id) && record.pid > 0 {
            true => Ok(record),
            false => unusable(format!(
                "is damaged: it is about container {:?}, process {}",
                record.id, record.pid
            )),
        }
    }

    /// The path of the container's control group, from whatever can still be read.
    #[must_use]
    pub fn cgroup(&self) -> Option<String> {
        let bytes = fs::read(self.directory.join("state.json")).unwrap_or_default();
        let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let recorded = record["cgroup"].as_str().map(str::to_owned);
        let id = self.directory.file_name()?.to_str()?;
        recorded.or_else(|| Some(cgroup_path(&self.spec().ok()?, id)))
    }

    /// The spec that the container was made from. It was checked then; what has become of the machine since (a
    /// namespace that is gone) does not make it wrong.
    pub fn spec(&self) -> Result<Spec> {
        let path = self.directory.join("config.json");
        let bytes = fs::read(&path).map_err(|e| io("read", &path, &e).hint(REMEDY))?;
        serde_json::from_slice(&bytes).map_err(|e| {
            Error::new("state", format!("{}: is damaged: {e}", path.display())).hint(REMEDY)
        })
    }

    /// What the container does now.
    pub fn status(&self, record: &Record) -> Status {
        self.status_and_groups(record).0
    }

    /// The same, with the container's groups if it has got to the point of asking them.
    pub fn status_and_groups(&self, record: &Record) -> (Status, Option<Cgroup>) {
        if start_time(Pid::from_raw(record.pid)) != Some(record.start_time) {
            return (Status::Stopped, None);
        }
        if self.fifo().exists() {
            return (Status::Created, None);
        }
        let cgroup = Cgroup::load(&record.cgroup).ok();
        match cgroup.as_ref().is_some_and(Cgroup::is_frozen) {
            true => (Status::Paused, cgroup),
            false => (Status::Running, cgroup),
        }
    }

    /// Forgets the container.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.directory).map_err(|e| io("remove", &self.directory, &e))
    }

    fn fifo(&self) -> PathBuf {
        self.directory.join("exec.fifo")
    }
}

/// Ids of all containers below `root`, sorted.
pub fn list(root: &Path) -> Vec<String> {
    let names = fs::read_dir(root).into_iter().flatten().flatten();
    let mut ids: Vec<String> = names
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    ids.sort();
    ids
}

/// Start time of a process that is alive (not a zombie), in clock ticks since boot.
#[must_use]
pub fn start_time(pid: Pid) -> Option<u64> {
    // One read: procfs has no size to allocate by.
    let mut text = [0u8; 1024];
    let n = File::open(format!("/proc/{pid}/stat"))
        .and_then(|mut file| file.read(&mut text))
        .ok()?;
    let stat = String::from_utf8_lossy(&text[..n]);
    // The name in parentheses may hold anything, so from its last one.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > 255 || id.starts_with('.') || !id.chars().all(allowed) {
        return Err(Error::invalid(format!(
            "invalid container ID format: {id:?} (letters, digits and _+-. only)"
        )));
    }
    Ok(())
}

fn io(op: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::at(
        "state",
        op,
        path,
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_the_root() {
        for id in ["", ".", "..", "../x", "a/b", "a\nb", ".hidden", "ä"] {
            assert!(check_id(id).is_err(), "{id}");
        }
        check_id("a-b_c.d+1").unwrap();
    }

    #[test]
    fn own_start_time_is_known() {
        assert!(start_time(nix::unistd::getpid()).is_some_and(|ticks| ticks > 0));
    }
}
