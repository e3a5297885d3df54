//! Directories become tars: what is unpacked from them is the same tree, the same tree is the same bytes, and a tree
//! that changes while it is read leads nowhere else.
mod common;

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::odd::{odd_tree, run};
use common::{Scratch, differences, is_root, picture};
use pyd_layers::{
    ChangeKind, Compression, Contents, Error, Output, Overlay, PackedLayer, Progress, list_changes,
    pack_layer, settle_layer,
};
use pyd_sys::xattr;

fn output(compression: Compression, threads: usize) -> Output {
    Output {
        compression,
        level: compression.default_level(),
        threads,
        epoch: None,
    }
}

fn pack_as(contents: Contents, output: Output) -> Result<(PackedLayer, Vec<u8>), Error> {
    let scratch = Scratch::new();
    let path = scratch.path("layer");
    let mut file = File::create(&path).unwrap();
    let layer = pack_layer(contents, &mut file, output, &Arc::<Progress>::default())?;
    let bytes = fs::read(&path).unwrap();
    assert_eq!(layer.size, bytes.len() as u64);
    assert_eq!(layer.digest, common::digest(&bytes));
    Ok((layer, bytes))
}

fn pack(contents: Contents) -> Result<Vec<u8>, Error> {
    pack_as(contents, output(Compression::Plain, 1)).map(|(_, bytes)| bytes)
}

fn whole(directory: &Path) -> Contents {
    Contents::Whole(vec![directory.to_path_buf()])
}

fn changes(upper: &Path, lowers: &[PathBuf]) -> Contents {
    Contents::Changes(Overlay {
        upper: upper.to_path_buf(),
        lowers: lowers.to_vec(),
        ignored: Vec::new(),
    })
}

/// Without the root, which a layer does not describe.
fn inside(root: &Path) -> std::collections::BTreeMap<String, String> {
    let mut picture = picture(root);
    picture.remove("");
    picture
}

#[test]
fn everything_comes_back() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    odd_tree(&source);
    std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let tar = pack(whole(&source)).unwrap();
    scratch.unpack("dest", &tar).unwrap();
    let mut expected = inside(&source);
    assert!(expected.remove("socket").is_some());
    assert!(expected.len() > 20);
    assert_eq!(
        differences(&expected, &inside(&scratch.path("dest"))),
        [""; 0]
    );
    // GNU tar reads the same.
    let gnu = scratch.dir("gnu");
    let archive = scratch.file("a.tar", &tar);
    let status = Command::new("tar")
        .args(["--xattrs", "--numeric-owner", "-p", "-xf"])
        .arg(&archive)
        .current_dir(&gnu)
        .status()
        .unwrap();
    assert!(status.success());
    let gnu = inside(&gnu);
    if is_root() {
        assert_eq!(differences(&expected, &gnu), [""; 0]);
    } else {
        assert_eq!(expected.len(), gnu.len());
    }
}

#[test]
fn the_same_bytes_whatever_the_number_of_threads() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    for number in 0..40_u32 {
        let noise: Vec<u8> = (0..200_000_u32)
            .map(|i| (i.wrapping_mul(number + 7).wrapping_mul(i) >> 11) as u8)
            .collect();
        fs::write(source.join(format!("noise-{number}")), noise).unwrap();
    }
    let (plain, tar) = pack_as(whole(&source), output(Compression::Plain, 1)).unwrap();
    assert_eq!(plain.diff_id, plain.digest);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed: Vec<_> = [1, 2, 5]
            .map(|threads| pack_as(whole(&source), output(compression, threads)).unwrap())
            .into();
        for (layer, bytes) in &packed {
            assert_eq!(layer.diff_id, plain.diff_id);
            assert_eq!(layer.plain_size, tar.len() as u64);
            assert!(bytes == &packed[0].1, "{compression:?}");
        }
        let layer = scratch
            .unpack(&format!("{compression:?}"), &packed[0].1)
            .unwrap();
        assert_eq!(layer.diff_id, Some(plain.diff_id));
    }
    // One member, as every reader wants it: GNU gzip checks its length and checksum.
    let (_, bytes) = pack_as(whole(&source), output(Compression::Gzip, 0)).unwrap();
    let path = scratch.file("layer.gz", &bytes);
    let plain = Command::new("gzip").arg("-dc").arg(&path).output().unwrap();
    assert!(plain.status.success() && plain.stdout == tar);
    let mut member = flate2::read::GzDecoder::new(bytes.as_slice());
    let mut first = Vec::new();
    member.read_to_end(&mut first).unwrap();
    assert!(first == tar);
}

/// xorshift: the trees of a seed are always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn name(&mut self) -> String {
        let stems = [
            "a",
            "b",
            "\u{e4}\u{1f600}",
            "x y",
            "new\nline",
            "-",
            "~",
            "=",
            "%",
        ];
        let stem = stems[self.below(stems.len() as u64) as usize];
        let length = [0, 0, 0, 3, 98, 99, 100, 101, 150, 220][self.below(10) as usize];
        format!("{stem}{}", "n".repeat(length))
    }
}

fn random_tree(root: &Path, random: &mut Random) {
    let mut directories = vec![root.to_path_buf()];
    let mut files: Vec<PathBuf> = Vec::new();
    for _ in 0..random.below(40) {
        let parent = directories[random.below(directories.len() as u64) as usize].clone();
        let path = parent.join(random.name());
        if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 3000 {
            continue;
        }
        match random.below(10) {
            0..3 => {
                fs::create_dir(&path).unwrap();
                directories.push(path.clone());
            }
            3 => symlink(random.name().repeat(2), &path).unwrap(),
            4 if !files.is_empty() => {
                let old = &files[random.below(files.len() as u64) as usize];
                fs::hard_link(old, &path).unwrap();
                continue;
            }
            5 if is_root() => run("mknod", &[path.to_str().unwrap(), "c", "1", "5"], root),
            _ => {
                let size = [0, 1, 511, 512, 513, 70_000, 1 << 20][random.below(7) as usize];
                fs::write(&path, vec![random.below(256) as u8; size]).unwrap();
                files.push(path.clone());
            }
        }
        let link = fs::symlink_metadata(&path).unwrap().is_symlink();
        if is_root() {
            let owner = [0, 1000, 2_097_151, 2_097_152, 4_000_000_000][random.below(5) as usize];
            std::os::unix::fs::lchown(&path, Some(owner), Some(owner / 2)).unwrap();
        }
        if !link {
            let mode = [0o644, 0o755, 0o4755, 0o2750, 0o1777, 0o700][random.below(6) as usize];
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        if !link && random.below(3) == 0 && path.is_file() {
            let value = vec![random.below(256) as u8; random.below(300) as usize];
            let file = File::open(&path).unwrap();
            let _ = xattr::fset(std::os::fd::AsFd::as_fd(&file), c"user.pyd.test", &value);
        }
        let seconds = [0, 1, 1 << 31, 8_000_000_000, -1, -5][random.below(6) as usize];
        let nanoseconds = [0, 1, 500_000_000, 999_999_999][random.below(4) as usize];
        let time = nix::sys::time::TimeSpec::new(seconds, nanoseconds);
        nix::sys::stat::utimensat(
            nix::fcntl::AT_FDCWD,
            &path,
            &time,
            &time,
            nix::sys::stat::UtimensatFlags::NoFollowSymlink,
        )
        .unwrap();
    }
}

#[test]
fn packing_what_was_unpacked_gives_the_same_bytes() {
    let rounds = std::env::var("PYD_PACK_TREES").map_or(40, |text| text.parse().unwrap());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        let scratch = Scratch::new();
        let source = scratch.dir("source");
        random_tree(&source, &mut random);
        let tar = pack(whole(&source)).unwrap();
        let layer = scratch.unpack("dest", &tar).unwrap();
        let again = pack(changes(&scratch.path("dest"), &[])).unwrap();
        let found = differences(&inside(&source), &inside(&scratch.path("dest")));
        assert_eq!(found, [""; 0], "round {round}");
        assert!(tar == again, "round {round}: {layer:?}");
    }
}

/// A real overlay over `lowers` (top first), unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    fn new(scratch: &Scratch, name: &str, upper: &Path, lowers: &[PathBuf]) -> Self {
        let (target, work) = (scratch.dir(name), scratch.dir(&format!("{name}.work")));
        let lowers: Vec<_> = lowers.iter().map(|lower| lower.to_str().unwrap()).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lowers.join(":"),
            upper.display(),
            work.display()
        );
        let target_text = target.to_str().unwrap();
        run(
            "mount",
            &["-t", "overlay", "overlay", "-o", &options, target_text],
            &target,
        );
        Self(target)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Two layers below, and a shell that changes what they show.
const LOWER: &str = "mkdir -p etc keep/inner gone/deep over/old swap; echo a >etc/a; echo b >etc/b; echo k >keep/inner/k
echo d >gone/deep/d; echo o >over/old/o; echo s >swap/s; echo t >touched; echo r >renamed; ln -s touched link
echo h >h1; ln h1 h2; echo m >mode";
const MIDDLE: &str =
    "mkdir -p etc middle; echo c >etc/c; echo changed >etc/b; echo x >middle/x; mknod hidden c 0 0";
const SCRIPT: &str = "echo new >etc/new; rm etc/a; echo more >>etc/b; rm -r gone; rm -r over; mkdir over; echo n >over/n
rm -r swap; echo file >swap; mv renamed moved; chmod 4711 mode; ln etc/c linked; rm link; ln -s elsewhere link
mkdir -p fresh/dir; mkfifo fresh/fifo; echo gone >temp; rm temp; chown 7:8 middle; rm touched; mkdir touched
 mknod fresh/zero c 1 5; : >hidden";

fn shell(script: &str, directory: &Path) {
    run("sh", &["-ec", script], directory);
}

#[test]
fn changes_of_an_overlay_are_the_layer() {
    if !is_root() {
        return; // nobody else mounts
    }
    let scratch = Scratch::new();
    let (lower, middle) = (scratch.dir("lower"), scratch.dir("middle"));
    shell(LOWER, &lower);
    shell(MIDDLE, &middle);
    let attribute = |path: PathBuf| {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        xattr::lset(&path, c"user.pyd", b"x").unwrap();
    };
    attribute(lower.join("keep"));
    let below = [middle, lower];
    let upper = scratch.dir("upper");
    let mounted = Mounted::new(&scratch, "merged", &upper, &below);
    shell(SCRIPT, &mounted.0);
    attribute(mounted.0.join("h1"));
    let expected = inside(&mounted.0);
    // The layer, unpacked over the same two, is what the container saw.
    for lowers in [&below[..], &[]] {
        let tar = pack(changes(&upper, lowers)).unwrap();
        let name = format!("layer{}", lowers.len());
        let layer = scratch.unpack(&name, &tar).unwrap();
        settle_layer(&layer.unsettled, &scratch.path(&name), &below).unwrap();
        let unpacked = scratch.path(&name);
        let again = Mounted::new(
            &scratch,
            &format!("again{}", lowers.len()),
            &unpacked,
            &below,
        );
        // overlayfs makes up the numbers of inodes, so hard links compare by name: the same in both
        assert_eq!(differences(&expected, &inside(&again.0)), [""; 0]);
    }
    // So is the union that is read without a mount.
    let stack = [&[upper.clone()][..], &below].concat();
    let tar = pack(Contents::Whole(stack)).unwrap();
    scratch.unpack("union", &tar).unwrap();
    let mut expected = expected;
    for (name, line) in &mut expected {
        // The other name of the inode is in a layer below, and hidden.
        *line = line.replace(&format!(" same as {name} "), "  ");
    }
    let mut found = inside(&scratch.path("union"));
    for (name, line) in &mut found {
        *line = line.replace(&format!(" same as {name} "), "  ");
    }
    assert_eq!(differences(&expected, &found), [""; 0]);
    // And the list is Docker's.
    let overlay = Overlay {
        upper,
        lowers: below.to_vec(),
        ignored: Vec::new(),
    };
    let listed: Vec<String> = list_changes(&overlay, &Progress::default())
        .unwrap()
        .into_iter()
        .map(|(path, kind)| {
            let letter = match kind {
                ChangeKind::Added => 'A',
                ChangeKind::Changed => 'C',
                ChangeKind::Deleted => 'D',
                ChangeKind::Opaque => '?',
            };
            format!("{letter} {}", String::from_utf8(path).unwrap())
        })
        .collect();
    let wanted = "C etc|D etc/a|C etc/b|A etc/new|A fresh|A fresh/dir|A fresh/fifo|A fresh/zero|D gone|A hidden\
                  |C link|A linked|C middle|C mode|A moved|C over|A over/n|D over/old|D renamed|C swap|C touched";
    assert_eq!(listed.join("|"), wanted);
}

#[test]
fn mount_points_of_the_runtime_are_no_changes() {
    let scratch = Scratch::new();
    let (upper, lower) = (scratch.dir("upper"), scratch.dir("lower"));
    shell(
        "mkdir etc proc; echo x >etc/passwd; touch -d 2001-01-01 etc",
        &lower,
    );
    shell(
        "mkdir -p etc dev/pts proc sys; : >etc/hosts; : >etc/hostname",
        &upper,
    );
    let mode = fs::metadata(lower.join("etc")).unwrap().mode();
    fs::set_permissions(upper.join("etc"), fs::Permissions::from_mode(mode)).unwrap();
    let mut overlay = Overlay {
        upper: upper.clone(),
        lowers: vec![lower],
        ignored: ["etc/hosts", "etc/hostname", "dev", "dev/pts", "sys"]
            .map(|path| path.as_bytes().to_vec())
            .to_vec(),
    };
    assert_eq!(list_changes(&overlay, &Progress::default()).unwrap(), []);
    let empty = pack(Contents::Changes(overlay.clone())).unwrap();
    assert_eq!(empty, vec![0; 1024]);
    // What a container wrote into one of them is its own.
    fs::write(upper.join("etc/hosts"), "written").unwrap();
    fs::write(upper.join("dev/pts/x"), "written").unwrap();
    let listed: Vec<_> = list_changes(&overlay, &Progress::default())
        .unwrap()
        .into_iter()
        .map(|(path, _)| String::from_utf8(path).unwrap())
        .collect();
    assert_eq!(listed, ["dev", "dev/pts", "dev/pts/x", "etc", "etc/hosts"]);
    overlay.ignored.clear();
    assert!(list_changes(&overlay, &Progress::default()).unwrap().len() > listed.len());
}

#[test]
fn huge_holes_stay_holes() {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    let file = File::create(source.join("lastlog")).unwrap();
    for offset in [0, 1 << 30, 200 << 30] {
        file.write_all_at(b"some data", offset).unwrap();
    }
    file.set_len(300 << 30).unwrap();
    let tar = pack(whole(&source)).unwrap();
    assert!(tar.len() < 1 << 20, "{}", tar.len());
    scratch.unpack("dest", &tar).unwrap();
    let dest = File::open(scratch.path("dest").join("lastlog")).unwrap();
    assert_eq!(dest.metadata().unwrap().len(), 300 << 30);
    assert!(dest.metadata().unwrap().blocks() < 1 << 10);
    for offset in [0, 1 << 30, 200 << 30] {
        let mut data = [0; 9];
        dest.read_exact_at(&mut data, offset).unwrap();
        assert_eq!(&data, b"some data");
    }
}

#[test]
fn what_a_layer_cannot_say_is_refused() {
    let refused = |make: &dyn Fn(&Path)| {
        let scratch = Scratch::new();
        let upper = scratch.dir("upper");
        make(&upper);
        match pack(changes(&upper, &[])) {
            Err(Error::Unsupported(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    let message = refused(&|upper| fs::write(upper.join(".wh.passwd"), "x").unwrap());
    assert!(message.contains(".wh.passwd"));
    refused(&|upper| {
        // Deeper than any path: made one by one.
        use nix::fcntl::{OFlag, open, openat};
        use nix::sys::stat::{Mode, mkdirat};
        let name = "x".repeat(250);
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH;
        let mut directory = open(upper, flags, Mode::empty()).unwrap();
        for _ in 0..20 {
            mkdirat(&directory, name.as_str(), Mode::S_IRWXU).unwrap();
            directory = openat(&directory, name.as_str(), flags, Mode::empty()).unwrap();
        }
    });
    for name in ["redirect", "metacopy"] {
        refused(&|upper| {
            fs::create_dir(upper.join("d")).unwrap();
            let path = CString::new(upper.join("d").as_os_str().as_bytes()).unwrap();
            let name = CString::new(format!("user.overlay.{name}")).unwrap();
            xattr::lset(&path, &name, b"/etc").unwrap();
        });
    }
    refused(&|upper| {
        fs::write(upper.join("f"), "x").unwrap();
        let path = CString::new(upper.join("f").as_os_str().as_bytes()).unwrap();
        xattr::lset(&path, c"user.a=b", b"").unwrap();
    });
}

/// While names are exchanged: no hang on a FIFO, nothing from outside, and an archive that can be read.
#[test]
fn swapped_names_lead_nowhere() {
    let scratch = Scratch::new();
    let (upper, outside) = (scratch.dir("upper"), scratch.dir("outside"));
    fs::write(outside.join("secret"), "canary in the coal mine").unwrap();
    for number in 0..30 {
        fs::create_dir(upper.join(format!("d{number:02}"))).unwrap();
        fs::write(upper.join(format!("d{number:02}/secret")), "harmless").unwrap();
    }
    run("mkfifo", &["fifo"], &scratch.0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (link, fifo) = (scratch.path("link"), scratch.path("fifo"));
            symlink(&outside, &link).unwrap();
            let swap = |one: &Path, other: &Path| {
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                let at = nix::fcntl::AT_FDCWD;
                let _ = nix::fcntl::renameat2(at, one, at, other, flags);
            };
            while !stop.load(Ordering::Relaxed) {
                for number in 0..30 {
                    let directory = upper.join(format!("d{number:02}"));
                    swap(&directory, &link);
                    swap(&directory, &link);
                    let file = directory.join("secret");
                    swap(&file, &fifo);
                    swap(&file, &fifo);
                    symlink(outside.join("secret"), scratch.path("l")).unwrap();
                    swap(&file, &scratch.path("l"));
                    swap(&file, &scratch.path("l"));
                    fs::remove_file(scratch.path("l")).unwrap();
                }
            }
        });
        for _ in 0..15 {
            for contents in [changes(&upper, &[]), whole(&upper)] {
                match pack(contents) {
                    Ok(tar) => {
                        let found = tar.windows(6).any(|window| window == b"canary");
                        assert!(!found, "a file from outside is in the archive");
                    }
                    Err(error) => assert!(!matches!(error, Error::Cancelled), "{error}"),
                }
            }
        }
        // The control: who opens by name, as tar does, is led outside.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut led_outside = false;
        while !led_outside && std::time::Instant::now() < until {
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::custom_flags(
                options.read(true),
                nix::libc::O_NONBLOCK, // of the FIFO
            );
            let mut text = String::new();
            led_outside = options
                .open(upper.join("d00/secret"))
                .and_then(|mut file| file.read_to_string(&mut text))
                .is_ok()
                && text.contains("canary");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(led_outside);
    });
}
