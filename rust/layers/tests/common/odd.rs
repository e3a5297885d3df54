//! A tree with one of everything that a tree can hold.
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use pyd_sys::xattr;

use super::is_root;

pub fn run(program: &str, arguments: &[&str], directory: &Path) {
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// One of everything that a tree can hold.
pub fn odd_tree(root: &Path) {
    let deep = format!("{}/{}/{}", "d".repeat(120), "e".repeat(120), "f".repeat(60));
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join(&deep).join("g".repeat(200)), "long name").unwrap();
    symlink("x".repeat(300), root.join("long link")).unwrap();
    fs::write(root.join("plain"), "plain").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("setuid"), "s").unwrap();
    fs::write(
        root.join("big"),
        (0..3_000_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(root.join("name with\nnewline, \u{e4} and \u{1b}"), "n").unwrap();
    let latin1 = std::ffi::OsStr::from_bytes(b"latin1 \xe4");
    fs::write(root.join(latin1), "l").unwrap();
    fs::hard_link(root.join("plain"), root.join("same")).unwrap();
    fs::hard_link(root.join("plain"), root.join(&deep).join("same too")).unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    fs::hard_link(root.join("link"), root.join("hard link to a symlink")).unwrap();
    fs::create_dir(root.join("closed")).unwrap();
    fs::write(root.join("closed/inside"), "i").unwrap();
    fs::create_dir(root.join("sticky")).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    for offset in [0, 1 << 20, (8 << 20) + 12345] {
        sparse.write_all_at(&[7; 5000], offset).unwrap();
    }
    sparse.set_len(12_000_001).unwrap();
    let many = File::create(root.join("many holes")).unwrap();
    for index in 0..60 {
        many.write_all_at(b"data", index << 16).unwrap();
    }
    File::create(root.join("only a hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    for (name, mode) in [
        ("setuid", 0o4755),
        ("closed", 0o500),
        ("sticky", 0o1777),
        ("empty", if is_root() { 0 } else { 0o400 }),
    ] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    run("mkfifo", &["fifo"], root);
    if is_root() {
        run("mknod", &["null", "c", "1", "3"], root);
        run("mknod", &["disk", "b", "7", "300"], root);
        run(
            "chown",
            &["-h", "1234:5678", "link", "setuid", "closed"],
            root,
        );
        run("chown", &["3000000000:3000000000", "sticky"], root);
        run("chmod", &["4755", "setuid"], root);
        run("chmod", &["2770", "sticky"], root);
    }
    // tmpfs keeps user attributes only since Linux 6.6.
    if let Ok(file) = File::open(root.join("plain")) {
        let _ = xattr::fset(
            std::os::fd::AsFd::as_fd(&file),
            c"user.a",
            b"binary \x00\n\xff =",
        );
    }
    run(
        "touch",
        &["-d", "2001-02-03T04:05:06.789012345", "plain", "sticky"],
        root,
    );
    run(
        "touch",
        &["-h", "-d", "1969-12-31T23:59:58.5", "link", "dangling"],
        root,
    );
    run("touch", &["-d", "2446-05-10", "empty"], root);
}
