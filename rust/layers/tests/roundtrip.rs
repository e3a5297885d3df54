//! What GNU tar packs and what it would unpack: the same tree, in every format it writes.
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::odd::{odd_tree, run};
use common::{Scratch, differences, is_root, picture};

/// Others than root own everything that they unpack.
fn same_owner() -> &'static str {
    if is_root() {
        "--same-owner"
    } else {
        "--no-same-owner"
    }
}

fn tar(arguments: &[&str], directory: &Path) {
    let output = Command::new("tar")
        .args(arguments)
        .current_dir(directory)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "tar {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn check(format: &[&str], nanoseconds: bool) {
    let scratch = Scratch::new();
    let source = scratch.dir("source");
    odd_tree(&source);
    if !nanoseconds {
        // Formats without fractions, of owners without them either: compare with what GNU tar itself unpacks.
        run(
            "find",
            &[
                ".",
                "-depth",
                "-exec",
                "touch",
                "-h",
                "-d",
                "2005-05-05",
                "{}",
                "+",
            ],
            &source,
        );
    }
    let archive = scratch.path("a.tar");
    let mut arguments = vec![
        "--numeric-owner",
        "--sparse",
        "-cf",
        archive.to_str().unwrap(),
    ];
    arguments.splice(0..0, format.iter().copied());
    arguments.extend(["--sort=name", "."]);
    tar(&arguments, &source);
    let expected = scratch.dir("expected");
    tar(
        &[
            "--xattrs",
            "--numeric-owner",
            same_owner(),
            "-p",
            "-xf",
            archive.to_str().unwrap(),
        ],
        &expected,
    );
    let layer = scratch
        .unpack("dest", &fs::read(&archive).unwrap())
        .unwrap();
    assert!(layer.unsettled.implied.is_empty() && layer.unsettled.links.is_empty());
    let dest = picture(&scratch.path("dest"));
    assert_eq!(
        differences(&picture(&expected), &dest),
        [""; 0],
        "{format:?}"
    );
    assert!(dest.len() > 20);
    if nanoseconds {
        assert_eq!(differences(&picture(&source), &dest), [""; 0], "{format:?}");
    }
}

#[test]
fn gnu() {
    check(&["--format=gnu"], false);
}

#[test]
fn pax() {
    check(&["--format=posix", "--xattrs"], true);
}

#[test]
fn pax_sparse_0_0() {
    check(
        &["--format=posix", "--xattrs", "--sparse-version=0.0"],
        true,
    );
}

#[test]
fn pax_sparse_0_1() {
    check(
        &["--format=posix", "--xattrs", "--sparse-version=0.1"],
        true,
    );
}

/// A piece of a real system: every entry that GNU tar sees, as it unpacks it.
#[test]
fn real_tree() {
    let scratch = Scratch::new();
    let archive = scratch.path("a.tar");
    let path = archive.to_str().unwrap();
    let pieces = [
        "etc",
        "usr/share/zoneinfo",
        "usr/lib/locale",
        "usr/share/perl",
        "var/lib/dpkg/alternatives",
    ];
    let mut arguments = vec!["--format=posix", "--xattrs", "--numeric-owner", "-cf", path];
    arguments.extend(
        pieces
            .iter()
            .filter(|piece| is_root() || **piece != "etc")
            .filter(|piece| Path::new("/").join(piece).is_dir()),
    );
    tar(&arguments, Path::new("/"));
    let expected = scratch.dir("expected");
    tar(
        &[
            "--xattrs",
            "--numeric-owner",
            same_owner(),
            "-p",
            "-xf",
            path,
        ],
        &expected,
    );
    scratch
        .unpack("dest", &fs::read(&archive).unwrap())
        .unwrap();
    let (mut expected, mut dest) = (picture(&expected), picture(&scratch.path("dest")));
    // Parents that the archive does not describe are made with the time of day.
    for implied in [
        "",
        "usr",
        "usr/share",
        "usr/lib",
        "var",
        "var/lib",
        "var/lib/dpkg",
    ] {
        expected.remove(implied);
        dest.remove(implied);
    }
    assert_eq!(differences(&expected, &dest), [""; 0]);
}
