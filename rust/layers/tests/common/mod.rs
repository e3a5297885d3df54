//! What the tests of this crate share: a scratch directory, hand-made tars, and a picture of a tree to compare.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod odd;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pyd_layers::{Error, Hasher, Progress, UnpackedLayer, remove_tree, unpack_blob};
use pyd_sys::xattr;

/// Removed, whatever is in it, when the test ends.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!(
            "pyd-layers-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Unpack bytes into a fresh directory `name`.
    pub fn unpack(&self, name: &str, layer: &[u8]) -> Result<UnpackedLayer, Error> {
        let blob = self.file(&format!("{name}.blob"), layer);
        unpack_blob(
            &blob,
            &self.dir(name),
            "",
            None,
            &Arc::<Progress>::default(),
            Arc::default(),
        )
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0, &Progress::default());
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// One hand-made header block with its data; every field can be wrong.
#[derive(Clone)]
pub struct Member {
    pub name: Vec<u8>,
    pub kind: u8,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub device: (u32, u32),
    /// Instead of the length of `data`, raw.
    pub size: Option<Vec<u8>>,
}

pub fn member(name: impl AsRef<[u8]>, kind: u8) -> Member {
    Member {
        name: name.as_ref().to_vec(),
        kind,
        link: Vec::new(),
        data: Vec::new(),
        mode: if kind == b'5' { 0o755 } else { 0o644 },
        uid: nix::unistd::geteuid().as_raw().into(),
        gid: nix::unistd::getegid().as_raw().into(),
        mtime: 1_000_000_000,
        device: (0, 0),
        size: None,
    }
}

pub fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Member {
    let mut file = member(name, b'0');
    file.data = data.as_ref().to_vec();
    file
}

pub fn dir(name: impl AsRef<[u8]>) -> Member {
    member(name, b'5')
}

pub fn link(name: impl AsRef<[u8]>, kind: u8, target: impl AsRef<[u8]>) -> Member {
    let mut link = member(name, kind);
    link.link = target.as_ref().to_vec();
    link
}

/// A PAX header with these records.
pub fn pax(records: &[(&str, &[u8])]) -> Member {
    let mut body = Vec::new();
    for (key, value) in records {
        let tail = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let mut length = tail.len() + 1;
        while length.to_string().len() + tail.len() != length {
            length = length.to_string().len() + tail.len();
        }
        body.extend(length.to_string().into_bytes());
        body.extend(tail);
    }
    let mut header = member("PaxHeader", b'x');
    header.data = body;
    header
}

impl Member {
    pub fn bytes(&self) -> Vec<u8> {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8], room: usize| {
            let length = bytes.len().min(room);
            block[at..at + length].copy_from_slice(&bytes[..length]);
        };
        put(0, &self.name, 100);
        put(100, format!("{:07o}\0", self.mode).as_bytes(), 8);
        put(108, &owner(self.uid), 8);
        put(116, &owner(self.gid), 8);
        let size = self
            .size
            .clone()
            .unwrap_or_else(|| format!("{:011o}\0", self.data.len()).into_bytes());
        put(124, &size, 12);
        put(136, format!("{:011o}\0", self.mtime).as_bytes(), 12);
        put(156, &[self.kind], 1);
        put(157, &self.link, 100);
        put(257, b"ustar\x0000", 8);
        put(329, format!("{:07o}\0", self.device.0).as_bytes(), 8);
        put(337, format!("{:07o}\0", self.device.1).as_bytes(), 8);
        checksum(&mut block);
        let mut bytes = block.to_vec();
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// Octal, or GNU's base-256 for what does not fit.
fn owner(id: u64) -> Vec<u8> {
    if id <= 0o7_777_777 {
        return format!("{id:07o}\0").into_bytes();
    }
    let mut field = id.to_be_bytes().to_vec();
    field[0] |= 0x80;
    field
}

pub fn checksum(block: &mut [u8]) {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(Member::bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn digest(data: &[u8]) -> pyd_layers::Digest {
    let mut hasher = Hasher::default();
    hasher.update(data);
    hasher.finish()
}

/// Everything about every file below `root`, by path.
pub fn picture(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut links = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let kind = stat.mode() & 0o170_000;
        let content = match kind {
            0o040_000 => {
                left.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
                String::new()
            }
            0o100_000 => format!("{} {}", stat.size(), digest(&fs::read(&path).unwrap())),
            0o120_000 => fs::read_link(&path).unwrap().to_string_lossy().into_owned(),
            _ => format!("{:x}", stat.rdev()),
        };
        // The first name of an inode stands for it: which names are one file is part of the picture.
        let inode = if kind != 0o040_000 && stat.nlink() > 1 {
            let group = links.len();
            format!("link {}", links.entry(stat.ino()).or_insert(group))
        } else {
            String::new()
        };
        let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
        let mut attributes: Vec<String> = xattr::llist(&c_path)
            .unwrap()
            .into_iter()
            .map(|attribute| {
                let value =
                    xattr::lget(&c_path, &CString::new(attribute.clone()).unwrap()).unwrap();
                format!("{}={value:?}", String::from_utf8_lossy(&attribute))
            })
            .collect();
        attributes.sort();
        let line = format!(
            "{:o} {}:{} {}.{:09} {content} {inode} {attributes:?}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime(),
            stat.mtime_nsec()
        );
        found.insert(name, line);
    }
    // Numbers of link groups depend on the order of the walk: name them by their smallest path.
    let mut renamed = BTreeMap::<String, String>::new();
    found
        .into_iter()
        .map(|(name, line)| {
            let Some(start) = line.find(" link ") else {
                return (name, line);
            };
            let end = line[start + 6..]
                .find(' ')
                .map_or(line.len(), |at| start + 6 + at);
            let group = line[start..end].to_owned();
            let first = renamed.entry(group).or_insert_with(|| name.clone()).clone();
            let line = format!("{} same as {first}{}", &line[..start], &line[end..]);
            (name, line)
        })
        .collect()
}

/// Differences between two pictures, for a message that can be read.
pub fn differences(
    one: &BTreeMap<String, String>,
    other: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for name in one.keys().chain(other.keys()) {
        if one.get(name) != other.get(name) {
            found.push(format!(
                "{name}: {:?} / {:?}",
                one.get(name),
                other.get(name)
            ));
        }
    }
    found.sort();
    found.dedup();
    found
}
