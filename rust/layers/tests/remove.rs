//! Removing and counting trees that were made to resist.
mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use common::{Scratch, is_root};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use pyd_layers::{Error, Progress, remove_tree, tree_usage};

#[test]
fn links_are_removed_not_followed() {
    let scratch = Scratch::new();
    fs::write(scratch.dir("out").join("canary"), "alive").unwrap();
    let tree = scratch.dir("tree/a/b/c");
    symlink(scratch.path("out"), tree.join("out")).unwrap();
    symlink(scratch.path("out"), scratch.path("tree/out")).unwrap();
    symlink("loop", tree.join("loop")).unwrap();
    symlink(scratch.path("out"), scratch.path("link")).unwrap();
    for path in ["tree", "link", "missing", "missing/too"] {
        remove_tree(&scratch.path(path), &Progress::default()).unwrap();
        assert!(fs::symlink_metadata(scratch.path(path)).is_err());
    }
    assert_eq!(fs::read(scratch.path("out/canary")).unwrap(), b"alive");
}

#[test]
fn wide_and_deep_trees() {
    let scratch = Scratch::new();
    for one in 0..20 {
        for two in 0..20 {
            let dir = scratch.dir(&format!("tree/{one}/{two}/x/y"));
            for name in ["a", "b"] {
                fs::write(dir.join(name), "12345").unwrap();
            }
        }
    }
    let tree = scratch.path("tree");
    let usage = tree_usage(&tree, &Progress::default()).unwrap();
    assert_eq!((usage.bytes, usage.inodes), (4000, 1 + 20 + 400 * 3 + 800));
    // A chain that no path reaches.
    let mut directory: OwnedFd = open(&tree, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..5000 {
        mkdirat(&directory, "deep", Mode::S_IRWXU).unwrap();
        directory = openat(&directory, "deep", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    remove_tree(&tree, &Progress::default()).unwrap();
    assert!(!tree.exists());
}

#[test]
fn hard_links_count_once() {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree");
    fs::write(tree.join("a"), "1234").unwrap();
    fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    symlink("12", tree.join("c")).unwrap();
    let usage = tree_usage(&tree, &Progress::default()).unwrap();
    assert_eq!((usage.bytes, usage.inodes), (6, 3));
    assert!(matches!(
        tree_usage(&tree.join("x"), &Progress::default()),
        Err(Error::Kernel { .. })
    ));
}

#[test]
fn immutable_files_and_closed_directories() {
    let scratch = Scratch::new();
    let tree = scratch.dir("tree/closed/inner");
    fs::write(tree.join("f"), "").unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(
        scratch.path("tree/closed"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let fixed = scratch.dir("tree/fixed");
    fs::write(fixed.join("f"), "").unwrap();
    if is_root() {
        // Where the file system has no such flags (tmpfs before 6.6) there is nothing to overcome.
        for (flag, path) in [("+a", fixed.join("f")), ("+i", fixed.clone())] {
            let _ = Command::new("chattr").arg(flag).arg(path).output();
        }
    }
    remove_tree(&scratch.path("tree"), &Progress::default()).unwrap();
    assert!(!scratch.path("tree").exists());
}

#[test]
fn a_cancelled_removal_says_so() {
    let scratch = Scratch::new();
    scratch.dir("tree/a");
    let progress = Progress::default();
    progress.cancel();
    assert!(matches!(
        remove_tree(&scratch.path("tree"), &progress),
        Err(Error::Cancelled)
    ));
}
