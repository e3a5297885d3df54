//! The upper directory of an overlay becomes a layer: what is packed from it alone is what was promised, on every
//! machine and at every time the same.
mod common;

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::odd::{odd_tree, run};
use common::{Scratch, differences, is_root, picture};
use pyd_layers::{
    Compression, Contents, Error, Output, Overlay, Progress, SealedLayer, pack_layer, reclamp,
    seal_layer,
};
use pyd_sys::mount::FsContext;
use pyd_sys::xattr;

/// 1980-01-01
const EPOCH: i64 = 315_532_800;

fn overlay(upper: &Path, lowers: &[&Path]) -> Overlay {
    Overlay {
        upper: upper.to_path_buf(),
        lowers: lowers.iter().map(|lower| lower.to_path_buf()).collect(),
        ignored: Vec::new(),
    }
}

fn seal(overlay: &Overlay) -> Result<SealedLayer, Error> {
    seal_layer(overlay, EPOCH, true, &Arc::<Progress>::default())
}

/// What the store does with a snapshot whose blob is gone: its tar, made without the layers below.
fn pack(contents: Contents, epoch: Option<i64>) -> (String, Vec<u8>) {
    let scratch = Scratch::new();
    let path = scratch.path("layer");
    let output = Output {
        compression: Compression::Plain,
        level: 0,
        threads: 1,
        epoch,
    };
    let progress = Arc::<Progress>::default();
    let packed = pack_layer(
        contents,
        &mut File::create(&path).unwrap(),
        output,
        &progress,
    )
    .unwrap();
    (packed.diff_id.to_string(), fs::read(&path).unwrap())
}

fn alone(directory: &Path) -> (String, Vec<u8>) {
    pack(Contents::Changes(overlay(directory, &[])), None)
}

/// Without the root, which a layer does not describe.
fn inside(root: &Path) -> std::collections::BTreeMap<String, String> {
    let mut picture = picture(root);
    picture.remove("");
    picture
}

#[test]
fn a_sealed_directory_is_what_its_tar_says() {
    let scratch = Scratch::new();
    let upper = scratch.dir("upper");
    odd_tree(&upper);
    let huge = File::create(upper.join("huge")).unwrap();
    huge.set_len(400 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&huge, b"data", 300 << 20).unwrap();
    fs::write(upper.join("big"), vec![7; 3_000_001]).unwrap();
    let mut deep = upper.clone();
    for number in 0..60 {
        deep.push(format!("deep{number}"));
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("zfile"), b"").unwrap();
        fs::create_dir(deep.join("empty")).unwrap();
    }
    drop(std::os::unix::net::UnixListener::bind(upper.join("socket")).unwrap());
    let sealed = seal(&overlay(&upper, &[])).unwrap();
    assert!(!upper.join("socket").exists());
    let (diff_id, tar) = alone(&upper);
    assert_eq!(sealed.diff_id.to_string(), diff_id);
    assert_eq!(sealed.plain_size, tar.len() as u64);
    let unpacked = scratch.unpack("dest", &tar).unwrap();
    assert_eq!(unpacked.unpacked_size, sealed.unpacked_size);
    for tree in [&upper, &scratch.path("dest")] {
        fs::remove_file(tree.join("huge")).unwrap(); // long to compare
    }
    let found = inside(&scratch.path("dest"));
    assert!(found.len() > 20);
    assert_eq!(differences(&inside(&upper), &found), [""; 0]);
    // Later times are cut, earlier ones are what the step wanted.
    let mtime = |name: &str| fs::symlink_metadata(upper.join(name)).unwrap().mtime();
    assert_eq!((mtime("empty"), mtime("plain")), (EPOCH, EPOCH));
    assert_eq!(mtime("link"), -2);
}

fn small_tree(root: &Path, reverse: bool) {
    let mut names: Vec<String> = (0..600)
        .map(|number| format!("d{}/f{number}", number % 7))
        .collect();
    names.extend((0..600).map(|number| format!("one/f{number}")));
    if reverse {
        names.reverse();
    }
    for name in names {
        let path = root.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &name).unwrap();
    }
    fs::hard_link(root.join("d1/f1"), root.join("d0/again")).unwrap();
    symlink("one", root.join("link")).unwrap();
}

#[test]
fn neither_time_nor_order_is_in_it() {
    let scratch = Scratch::new();
    let (one, other) = (scratch.dir("one"), scratch.dir("other"));
    small_tree(&one, false);
    small_tree(&other, true);
    run(
        "touch",
        &["-d", "2020-02-03", "d1/f1", "d2", "link"],
        &other,
    );
    // A directory in which something was made and removed.
    fs::write(other.join("d3/gone"), b"").unwrap();
    fs::remove_file(other.join("d3/gone")).unwrap();
    let (one, other) = (overlay(&one, &[]), overlay(&other, &[]));
    let first = seal(&one).unwrap();
    assert_eq!(first.entries, 1200 + 8 + 2);
    assert_eq!(first.diff_id, seal(&other).unwrap().diff_id);
    assert_eq!(first.diff_id, seal(&one).unwrap().diff_id, "sealed twice");
    fs::write(one.upper.join("d3/f3"), b"other").unwrap();
    assert_ne!(first.diff_id, seal(&one).unwrap().diff_id);
}

#[test]
fn times_may_stay_until_later() {
    let scratch = Scratch::new();
    let upper = scratch.dir("upper");
    small_tree(&upper, false);
    run("touch", &["-d", "2020-02-03", "d1/f1", "d2"], &upper);
    let before = inside(&upper);
    let kept = seal_layer(&overlay(&upper, &[]), EPOCH, false, &Arc::default()).unwrap();
    assert_eq!(differences(&before, &inside(&upper)), [""; 0]);
    assert_ne!(alone(&upper).0, kept.diff_id.to_string());
    let clamped = pack(Contents::Changes(overlay(&upper, &[])), Some(EPOCH));
    assert_eq!(clamped.0, kept.diff_id.to_string());
    reclamp(&upper, EPOCH, &Progress::default()).unwrap();
    assert_eq!(alone(&upper).0, kept.diff_id.to_string());
}

/// Nothing is attached: the paths of the mount go through its descriptor.
fn mount(overlay: &Overlay, work: &Path) -> (OwnedFd, PathBuf) {
    let context = FsContext::open("overlay").unwrap();
    for lower in &overlay.lowers {
        context.set("lowerdir+", lower.to_str().unwrap()).unwrap();
    }
    context
        .set("upperdir", overlay.upper.to_str().unwrap())
        .unwrap();
    context.set("workdir", work.to_str().unwrap()).unwrap();
    context.create().unwrap();
    let mount = context.mount(0).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    (mount, path)
}

fn notes(path: &Path) -> Vec<String> {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let names = xattr::llist(&path).unwrap();
    let names = names
        .into_iter()
        .map(|name| String::from_utf8(name).unwrap());
    names.filter(|name| name.contains(".overlay.")).collect()
}

#[test]
fn what_an_overlay_leaves() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let lower = scratch.dir("lower");
    for name in [
        "etc/conf",
        "etc/gone",
        "opt/a/b/file",
        "touched/deep/file",
        "again/old",
        "kept/x",
    ] {
        fs::create_dir_all(lower.join(name).parent().unwrap()).unwrap();
        fs::write(lower.join(name), name).unwrap();
    }
    fs::set_permissions(&lower, fs::Permissions::from_mode(0o751)).unwrap();
    let mut layer = overlay(&scratch.dir("upper"), &[&lower]);
    layer.ignored = ["proc", "etc/resolv.conf", "etc/conf", "dev/shm", "kept"]
        .map(|path| path.as_bytes().to_vec())
        .to_vec();
    let (held, root) = mount(&layer, &scratch.dir("work"));
    fs::write(root.join("etc/conf"), b"changed").unwrap();
    fs::remove_file(root.join("etc/gone")).unwrap();
    fs::set_permissions(root.join("opt/a/b"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("touched/deep/new"), b"").unwrap();
    fs::remove_file(root.join("touched/deep/new")).unwrap();
    fs::remove_dir_all(root.join("again")).unwrap();
    fs::create_dir(root.join("again")).unwrap();
    fs::create_dir_all(root.join("fresh/empty")).unwrap();
    fs::create_dir_all(root.join("dev/shm")).unwrap();
    fs::create_dir(root.join("proc")).unwrap();
    File::create(root.join("etc/resolv.conf")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(layer.upper.join("fresh/socket")).unwrap());
    drop(held);
    assert!(
        layer.upper.join("touched/deep").is_dir() && !notes(&layer.upper.join("etc")).is_empty()
    );
    let expected = pack(Contents::Changes(layer.clone()), Some(EPOCH));

    let sealed = seal(&layer).unwrap();
    assert_eq!(sealed.diff_id.to_string(), expected.0);
    assert_eq!(sealed.diff_id.to_string(), alone(&layer.upper).0);
    let mut names: Vec<String> = inside(&layer.upper).into_keys().collect();
    names.sort();
    // "dev" is new, and not one of the mount points.
    assert_eq!(
        names,
        [
            "again",
            "dev",
            "etc",
            "etc/conf",
            "etc/gone",
            "fresh",
            "fresh/empty",
            "opt",
            "opt/a",
            "opt/a/b"
        ]
    );
    for name in names {
        let found = notes(&layer.upper.join(&name));
        let wanted: &[&str] = if name == "again" {
            &["trusted.overlay.opaque"]
        } else {
            &[]
        };
        assert_eq!(found, wanted, "{name}");
        let mtime = fs::symlink_metadata(layer.upper.join(&name))
            .unwrap()
            .mtime();
        assert!(mtime <= EPOCH || name == "etc/gone", "{name}");
    }
    assert_eq!(notes(&layer.upper), [""; 0]);
    assert_eq!(fs::metadata(&layer.upper).unwrap().mode() & 0o777, 0o751);
    // And it is still the same overlay.
    let (_held, root) = mount(&layer, &scratch.dir("work2"));
    assert_eq!(fs::read(root.join("etc/conf")).unwrap(), b"changed");
    assert!(root.join("touched/deep/file").exists() && !root.join("etc/gone").exists());
    assert_eq!(fs::read_dir(root.join("again")).unwrap().count(), 0);
}

#[test]
fn nothing_done_is_an_empty_layer() {
    let scratch = Scratch::new();
    let lower = scratch.dir("lower");
    fs::create_dir_all(lower.join("a/b")).unwrap();
    let upper = scratch.dir("upper");
    fs::create_dir_all(upper.join("a/b")).unwrap();
    let sealed = seal(&overlay(&upper, &[&lower])).unwrap();
    assert_eq!(
        (sealed.entries, sealed.unpacked_size, sealed.plain_size),
        (0, 0, 1024)
    );
    assert_eq!(fs::read_dir(&upper).unwrap().count(), 0);
}

#[test]
fn flags_and_modes_are_no_hindrance() {
    let scratch = Scratch::new();
    let upper = scratch.dir("upper");
    fs::create_dir_all(upper.join("closed/inner")).unwrap();
    fs::write(upper.join("closed/inner/fixed"), b"x").unwrap();
    drop(std::os::unix::net::UnixListener::bind(upper.join("closed/socket")).unwrap());
    let flagged = std::process::Command::new("chattr")
        .args(["+i", "closed/inner/fixed", "closed"])
        .current_dir(&upper)
        .status()
        .is_ok_and(|status| status.success());
    if is_root() && !flagged {
        fs::set_permissions(upper.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let sealed = seal(&overlay(&upper, &[])).unwrap();
    assert_eq!(sealed.entries, 3);
    assert_eq!(sealed.diff_id.to_string(), alone(&upper).0);
}

#[test]
fn what_a_layer_cannot_say() {
    let scratch = Scratch::new();
    let upper = scratch.dir("upper");
    fs::write(upper.join(".wh.x"), b"").unwrap();
    let error = seal(&overlay(&upper, &[])).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    if !is_root() {
        return;
    }
    let upper = scratch.dir("moved");
    fs::create_dir(upper.join("d")).unwrap();
    let path = std::ffi::CString::new(upper.join("d").to_str().unwrap()).unwrap();
    xattr::lset(&path, c"trusted.overlay.redirect", b"/etc").unwrap();
    let error = seal(&overlay(&upper, &[])).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}

#[test]
fn a_cancelled_seal_ends() {
    let scratch = Scratch::new();
    let upper = scratch.dir("upper");
    fs::write(upper.join("x"), b"").unwrap();
    let progress = Arc::<Progress>::default();
    progress.cancel();
    let error = seal_layer(&overlay(&upper, &[]), EPOCH, true, &progress).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
