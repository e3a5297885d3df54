//! Digests of files that were read before, by what stat(2) says of them: a file whose inode, size, mode and times are
//! as they were then has the same content, and is not read again.
//!
//! Nobody can set the time of change (ctime), so this is as good as reading, but for one thing: a clock has ticks, and
//! a second write within the tick of the first leaves the same time (git calls such entries racy). So a file that
//! changed less than a second before it was read is not kept on disk. For the life of this object all are known:
//! a build sees its context as it was when it looked first, and what is copied is compared with what was seen.
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;

use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"pydctx1\n";
/// Bytes of a record on disk.
const RECORD: usize = 96;
const SUM: usize = 8;
/// Records on disk: 19 MB.
const MOST: usize = 200_000;

pub struct Remembered {
    path: Option<PathBuf>,
    known: RwLock<HashMap<(u64, u64), Record>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    size: i64,
    mode: u32,
    mtime: (i64, i64),
    ctime: (i64, i64),
    pub digest: Digest,
    /// Whether it has extended attributes; a change of them changes ctime.
    pub attributes: bool,
    /// Not for the disk.
    racy: bool,
}

impl Record {
    /// `before`: when the file was looked at, or earlier.
    pub fn new(stat: &FileStat, digest: Digest, attributes: bool, before: SystemTime) -> Self {
        let limit = before
            .checked_sub(Duration::from_secs(1))
            .and_then(|limit| limit.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        let limit = (
            limit.as_secs().cast_signed(),
            i64::from(limit.subsec_nanos()),
        );
        let mtime = (stat.st_mtime, stat.st_mtime_nsec);
        let ctime = (stat.st_ctime, stat.st_ctime_nsec);
        Self {
            size: stat.st_size,
            mode: stat.st_mode,
            mtime,
            ctime,
            digest,
            attributes,
            racy: mtime >= limit || ctime >= limit,
        }
    }

    fn is_of(&self, stat: &FileStat) -> bool {
        self.size == stat.st_size
            && self.mode == stat.st_mode
            && self.mtime == (stat.st_mtime, stat.st_mtime_nsec)
            && self.ctime == (stat.st_ctime, stat.st_ctime_nsec)
    }
}

impl Remembered {
    /// A file that is missing, damaged or not one of ours is as good as an empty one.
    pub fn open(path: Option<PathBuf>) -> Self {
        let known = path.as_ref().and_then(read).unwrap_or_default();
        Self {
            path,
            known: RwLock::new(known),
        }
    }

    pub fn get(&self, stat: &FileStat) -> Option<Record> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let record = known.get(&(stat.st_dev, stat.st_ino)).copied()?;
        record.is_of(stat).then_some(record)
    }

    /// Takes in what was learnt, and writes it down with what others wrote meanwhile. `current`: the files that were
    /// looked at, which are kept when there is no room for all. A file that cannot be written costs only time.
    pub fn learn(&self, learnt: Vec<((u64, u64), Record)>, current: &[(u64, u64)]) {
        if learnt.is_empty() {
            return;
        }
        let worth_writing = learnt.iter().any(|(_, record)| !record.racy);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.extend(learnt);
        let Some(path) = self.path.as_ref().filter(|_| worth_writing) else {
            return;
        };
        let mut all = read(path).unwrap_or_default();
        all.extend(
            known
                .iter()
                .filter(|(_, record)| !record.racy)
                .map(|(key, record)| (*key, *record)),
        );
        if all.len() > MOST {
            let mut kept = HashMap::new();
            for key in current.iter().take(MOST) {
                if let Some(record) = all.get(key) {
                    kept.insert(*key, *record);
                }
            }
            all = kept;
        }
        write(path, &all);
    }
}

fn read(path: &PathBuf) -> Option<HashMap<(u64, u64), Record>> {
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    let longest = (MAGIC.len() + MOST * RECORD + SUM) as u64;
    let status = file.metadata().ok()?;
    if !status.is_file() || status.len() > longest {
        return None;
    }
    let mut bytes = Vec::with_capacity(usize::try_from(status.len()).ok()? + 1);
    file.take(longest).read_to_end(&mut bytes).ok()?;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    let records = body.strip_prefix(MAGIC)?;
    if sum != checksum(body) || records.len() % RECORD != 0 {
        return None;
    }
    Some(records.chunks_exact(RECORD).filter_map(decode).collect())
}

fn write(path: &PathBuf, all: &HashMap<(u64, u64), Record>) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut bytes = Vec::with_capacity(MAGIC.len() + all.len() * RECORD + SUM);
    bytes.extend(MAGIC);
    for (key, record) in all {
        encode(&mut bytes, *key, record);
    }
    let sum = checksum(&bytes);
    bytes.extend(sum);
    let mut temporary = path.clone().into_os_string();
    let number = NUMBER.fetch_add(1, Relaxed);
    temporary.push(format!(".{}-{number}", std::process::id()));
    // The checksum stands in for a sync: what a power cut leaves is read as nothing.
    let written = fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

/// Against damage, not against anybody: who may write here may write any digest.
fn checksum(bytes: &[u8]) -> [u8; SUM] {
    let mut sum = bytes.len() as u64;
    for word in bytes.chunks(8) {
        let mut padded = [0; 8];
        padded[..word.len()].copy_from_slice(word);
        // The multiplier of splitmix64: every bit of a word reaches the upper half.
        sum = (sum ^ u64::from_le_bytes(padded)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum ^= sum >> 32;
    }
    sum.to_le_bytes()
}

fn encode(bytes: &mut Vec<u8>, (device, inode): (u64, u64), record: &Record) {
    bytes.extend(device.to_le_bytes());
    bytes.extend(inode.to_le_bytes());
    for number in [
        record.size,
        record.mtime.0,
        record.mtime.1,
        record.ctime.0,
        record.ctime.1,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(record.mode.to_le_bytes());
    bytes.extend(u32::from(record.attributes).to_le_bytes());
    bytes.extend(record.digest.as_bytes());
}

fn decode(bytes: &[u8]) -> Option<((u64, u64), Record)> {
    let number = |at: usize| -> Option<i64> {
        Some(i64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
    };
    let small = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let key = (number(0)?.cast_unsigned(), number(8)?.cast_unsigned());
    let record = Record {
        size: number(16)?,
        mtime: (number(24)?, number(32)?),
        ctime: (number(40)?, number(48)?),
        mode: small(56)?,
        attributes: small(60)? != 0,
        digest: Digest::from_bytes(bytes.get(64..96)?.try_into().ok()?),
        racy: false,
    };
    Some((key, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat() -> FileStat {
        nix::sys::stat::stat("/proc/self/exe").unwrap()
    }

    #[test]
    fn what_is_damaged_is_forgotten() {
        let path = std::env::temp_dir().join(format!("pyd-remembered-{}", std::process::id()));
        let stat = stat();
        let digest = Digest::from_bytes([7; 32]);
        let learn = || {
            let remembered = Remembered::open(Some(path.clone()));
            let key = (stat.st_dev, stat.st_ino);
            let later = SystemTime::now() + Duration::from_secs(3600);
            remembered.learn(vec![(key, Record::new(&stat, digest, true, later))], &[key]);
        };
        let known = || Remembered::open(Some(path.clone())).get(&stat);
        learn();
        assert_eq!(
            known().map(|record| (record.digest, record.attributes)),
            Some((digest, true))
        );
        let whole = fs::read(&path).unwrap();
        for at in [0, 9, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(known(), None);
        }
        for length in [0, 7, 8, 15, 40, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(known(), None);
        }
        learn();
        assert!(known().is_some());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_has_just_changed_is_not_written_down() {
        let path = std::env::temp_dir().join(format!("pyd-racy-{}", std::process::id()));
        fs::write(&path, b"content").unwrap();
        let stat = nix::sys::stat::stat(&path).unwrap();
        let key = (stat.st_dev, stat.st_ino);
        let cache = path.with_extension("cache");
        let remembered = Remembered::open(Some(cache.clone()));
        let record = Record::new(&stat, Digest::from_bytes([7; 32]), false, SystemTime::now());
        remembered.learn(vec![(key, record)], &[key]);
        assert!(remembered.get(&stat).is_some() && !cache.exists());
        fs::remove_file(&path).unwrap();
    }
}
