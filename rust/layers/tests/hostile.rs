//! Layers made to write outside their directory, to confuse a reader or to use up the machine. None may change
//! anything outside, and none may pass for a good layer that is not one.
mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{
    Member, Scratch, archive, checksum, differences, dir, file, is_root, link, member, pax, picture,
};
use pyd_layers::{Error, settle_layer};

/// What must become of a layer.
enum Fate {
    /// CorruptData that says this.
    Refused(&'static str),
    /// Unpacked, with these names (and only these) below the directory.
    Harmless(&'static [&'static str]),
}
use Fate::{Harmless, Refused};

fn cases() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let long = "n".repeat(256);
    let of = |members: &[Member]| archive(members);
    let wrong_size = |size: &[u8]| {
        let mut file = file("f", "data");
        file.size = Some(size.to_vec());
        archive(&[file])
    };
    let with = |mut member: Member, change: fn(&mut Member)| {
        change(&mut member);
        member
    };
    let mut bad_checksum = of(&[file("f", "x")]);
    bad_checksum[0] ^= 1;
    let mut lone_zero_block = of(&[file("a", "")]);
    lone_zero_block.truncate(512);
    lone_zero_block.extend([0; 512]);
    lone_zero_block.extend(of(&[file("b", "")]));
    let mut trailing = of(&[file("a", "")]);
    trailing.extend(of(&[file("../trailing", "")]));
    let mut truncated_header = of(&[file("a", "")]);
    truncated_header.truncate(700);
    let long_name = |name: &[u8]| {
        let mut long = member("././@LongLink", b'L');
        long.data = name.to_vec();
        long
    };
    let mut sparse = member("s", b'S');
    sparse.data = vec![1; 512];
    vec![
        (
            "dotdot",
            of(&[file("../canary", "x")]),
            Refused("escapes the layer"),
        ),
        (
            "dotdot inside",
            of(&[dir("a"), file("a/../../canary", "x")]),
            Refused("escapes the layer"),
        ),
        (
            "absolute dotdot",
            of(&[file("/../canary", "x")]),
            Refused("escapes the layer"),
        ),
        ("absolute", of(&[file("/etc", "x")]), Harmless(&["etc"])),
        (
            "dots",
            of(&[dir("a"), file("./a/./../b", "x")]),
            Harmless(&["a", "b"]),
        ),
        (
            "through absolute symlink",
            of(&[link("l", b'2', "/OUT"), file("l/canary", "x")]),
            Refused("symbolic link"),
        ),
        (
            "through relative symlink",
            of(&[link("l", b'2', "../out"), file("l/canary", "x")]),
            Refused("symbolic link"),
        ),
        (
            "through a chain of symlinks",
            of(&[
                dir("d"),
                link("d/up", b'2', ".."),
                link("l", b'2', "d/up/../out"),
                file("l/canary", "x"),
            ]),
            Refused("symbolic link"),
        ),
        (
            "over a symlink",
            of(&[link("l", b'2', "../out/canary"), file("l", "x")]),
            Harmless(&["l"]),
        ),
        (
            "directory over a symlink",
            of(&[
                link("l", b'2', "../out"),
                with(dir("l"), |d| d.mode = 0o777),
                file("l/x", "x"),
            ]),
            Harmless(&["l", "l/x"]),
        ),
        (
            "hard link out",
            of(&[link("h", b'1', "../out/canary"), file("h", "x")]),
            Refused("escapes the layer"),
        ),
        (
            "hard link to absolute",
            of(&[link("h", b'1', "/out/canary")]),
            Refused("does not exist"),
        ),
        (
            "hard link through a symlink",
            of(&[link("l", b'2', "../out"), link("h", b'1', "l/canary")]),
            Refused("symbolic link"),
        ),
        (
            "write through a hard link to a symlink",
            of(&[
                link("l", b'2', "../out/canary"),
                link("h", b'1', "l"),
                file("h", "x"),
            ]),
            Harmless(&["h", "l"]),
        ),
        (
            "hard link to a directory",
            of(&[dir("d"), link("h", b'1', "d")]),
            Refused("is a directory"),
        ),
        (
            "hard link over its own directory",
            of(&[dir("d"), file("d/f", "x"), link("d", b'1', "d/f")]),
            Refused("inside what the link replaces"),
        ),
        (
            "whiteout through a symlink",
            of(&[link("l", b'2', "../out"), file("l/.wh.canary", "")]),
            Refused("symbolic link"),
        ),
        (
            "whiteout of dotdot",
            of(&[file(".wh...", "")]),
            Refused("whiteout of no file"),
        ),
        (
            "whiteout of nothing",
            of(&[file("a/.wh.", "")]),
            Refused("whiteout of no file"),
        ),
        (
            "below a whiteout",
            of(&[file(".wh.a/b", "")]),
            Refused("below a whiteout"),
        ),
        (
            "opaque through a symlink",
            of(&[link("l", b'2', "../out"), file("l/.wh..wh..opq", "")]),
            Refused("symbolic link"),
        ),
        (
            "PAX name with dotdot",
            of(&[pax(&[("path", b"../canary")]), file("innocent", "x")]),
            Refused("escapes the layer"),
        ),
        (
            "PAX name with NUL",
            of(&[pax(&[("path", b"a\0b")]), file("innocent", "x")]),
            Refused("NUL"),
        ),
        (
            "PAX size smaller than the header's",
            of(&[
                pax(&[("size", b"0")]),
                file("f", archive(&[file("smuggled", "x")])),
            ]),
            Refused("two sizes disagree"),
        ),
        (
            "PAX size larger than the header's",
            of(&[pax(&[("size", b"512")]), file("f", ""), file("hidden", "")]),
            Refused("two sizes disagree"),
        ),
        (
            "PAX without an equals sign",
            of(&[
                with(member("p", b'x'), |p| p.data = b"7 path\n".to_vec()),
                file("f", ""),
            ]),
            Refused("malformed record"),
        ),
        (
            "two PAX headers",
            of(&[
                pax(&[("path", b"a")]),
                pax(&[("path", b"b")]),
                file("c", ""),
            ]),
            Refused("two extension headers"),
        ),
        (
            "PAX header at the end",
            of(&[pax(&[("path", b"a")])]),
            Refused("ends after an extension header"),
        ),
        (
            "global PAX path",
            of(&[
                with(pax(&[("path", b"x")]), |p| p.kind = b'g'),
                file("a", ""),
            ]),
            Refused("for all entries"),
        ),
        (
            "huge PAX header",
            of(&[with(member("p", b'x'), |p| {
                p.size = Some(b"77777777777\0".to_vec())
            })]),
            Refused("extension header of"),
        ),
        (
            "long name of 1 MiB",
            of(&[
                with(member("L", b'L'), |l| l.data = vec![b'a'; 1 << 20]),
                file("f", ""),
            ]),
            Refused("extension header of"),
        ),
        (
            "component too long",
            of(&[
                file(&long[..100], ""),
                pax(&[("path", long.as_bytes())]),
                file("f", ""),
            ]),
            Refused("too long"),
        ),
        (
            "negative size",
            wrong_size(&[0xff; 12]),
            Refused("size is not valid"),
        ),
        (
            "overlong size",
            wrong_size(&[
                0x80, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ]),
            Refused("size is not valid"),
        ),
        (
            "size beyond the end",
            wrong_size(b"00000777777\0"),
            Refused("truncated"),
        ),
        (
            "size is no number",
            wrong_size(b"0x10\0"),
            Refused("size is not valid"),
        ),
        (
            "owner that chown ignores",
            of(&[with(file("f", ""), |f| f.uid = 0xffff_ffff)]),
            Refused("owner is not valid"),
        ),
        (
            "symlink with data",
            of(&[with(link("l", b'2', "x"), |l| l.data = vec![0; 512])]),
            Refused("only regular files"),
        ),
        (
            "directory with data",
            of(&[with(dir("d"), |d| d.data = vec![0; 512])]),
            Refused("only regular files"),
        ),
        (
            "unknown type",
            of(&[member("f", b'Z')]),
            Refused("unknown entry type"),
        ),
        ("no name", of(&[file("", "x")]), Refused("without a name")),
        (
            "root as a file",
            of(&[file(".", "x")]),
            Refused("root of a layer"),
        ),
        (
            "symlink without a target",
            of(&[link("l", b'2', "")]),
            Refused("needs a target"),
        ),
        (
            "file as a directory",
            of(&[file("f", "x"), file("f/g", "x")]),
            Refused("symbolic link or a file"),
        ),
        ("wrong checksum", bad_checksum, Refused("wrong checksum")),
        (
            "zero block between entries",
            lone_zero_block,
            Refused("zero block"),
        ),
        ("half a header", truncated_header, Refused("truncated")),
        ("after the end", trailing, Harmless(&["a"])),
        (
            "sparse map that does not fit",
            {
                let mut archive = of(&[sparse]);
                archive[257..265].copy_from_slice(b"ustar  \0");
                checksum(&mut archive[..512]);
                archive
            },
            Refused("sparse map"),
        ),
        (
            "sparse map with overlap",
            of(&[
                pax(&[("GNU.sparse.size", b"100"), ("GNU.sparse.map", b"0,4,2,4")]),
                file("s", "12345678"),
            ]),
            Refused("sparse map"),
        ),
        (
            "sparse map in data without an end",
            of(&[
                pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.realsize", b"9"),
                ]),
                file("s", "99999999\n1\n"),
            ]),
            Refused("sparse map"),
        ),
        (
            "a file whose name ends in a slash",
            of(&[file("d/", "x")]),
            Refused("ends in a slash"),
        ),
        (
            "an old directory in a new header",
            of(&[member("d/", 0)]),
            Harmless(&["d"]),
        ),
        (
            "PAX and GNU give two names",
            of(&[long_name(b"one\0"), pax(&[("path", b"two")]), file("f", "")]),
            Refused("given twice"),
        ),
        (
            "PAX and GNU agree about the name",
            of(&[long_name(b"one\0"), pax(&[("path", b"one")]), file("f", "")]),
            Harmless(&["one"]),
        ),
        (
            "a long name whose size ends before it",
            of(&[long_name(b"one"), file("f", "")]),
            Refused("does not end in a NUL"),
        ),
        (
            "hard link to what becomes a directory",
            of(&[link("h", b'1', "d"), dir("d")]),
            Refused("a hard link to a directory"),
        ),
        (
            "below a hard link to a lower layer",
            of(&[link("h", b'1', "lower"), file("h/x", "")]),
            Refused("symbolic link or a file"),
        ),
        (
            "an old sparse file in a header that is not GNU's",
            of(&[member("s", b'S')]),
            Refused("not in a header of its format"),
        ),
        (
            "a device in a header of a time without devices",
            {
                let mut archive = of(&[member("null", b'3')]);
                archive[257..265].fill(0);
                checksum(&mut archive[..512]);
                archive
            },
            Refused("not in a header of its format"),
        ),
        (
            "more bytes than a disk can have",
            of(&[
                pax(&[
                    ("GNU.sparse.size", b"1125899906842625"),
                    ("GNU.sparse.map", b"0,1"),
                ]),
                file("s", "x"),
            ]),
            Refused("more than 1125899906842624 bytes"),
        ),
        ("empty", Vec::new(), Refused("empty")),
    ]
}

#[test]
fn nothing_leaves_the_directory() {
    for (name, layer, fate) in cases() {
        let scratch = Scratch::new();
        // dest is beside `out`, so that "../out" leads there.
        let out = scratch.dir("out");
        fs::write(out.join("canary"), "alive").unwrap();
        symlink(&out, scratch.path("OUT")).unwrap();
        let before = picture(&out);
        let result = scratch.unpack("dest", &layer).and_then(|layer| {
            settle_layer(&layer.unsettled, &scratch.path("dest"), &[]).map(|()| layer)
        });
        assert_eq!(
            differences(&before, &picture(&out)),
            [""; 0],
            "{name}: changed something outside"
        );
        assert!(
            !scratch.path("canary").exists() && !scratch.path("trailing").exists(),
            "{name}: escaped"
        );
        match (fate, result) {
            (Refused(why), Err(Error::Corrupt(message))) => {
                assert!(
                    message.contains(why),
                    "{name}: {message:?} does not say {why:?}"
                );
                assert!(message.len() < 400, "{name}: {message}");
            }
            (Refused(_), other) => panic!("{name}: {other:?} instead of a refusal"),
            (Harmless(expected), Ok(_)) => {
                let names: Vec<String> = picture(&scratch.path("dest"))
                    .into_keys()
                    .filter(|name| !name.is_empty())
                    .collect();
                assert_eq!(names, expected, "{name}");
            }
            (Harmless(_), Err(error)) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn the_last_entry_of_a_name_wins() {
    let scratch = Scratch::new();
    let layer = archive(&[
        file("a", "one"),
        link("b", b'1', "a"),
        file("a", "two"),
        dir("c"),
        file("c/x", "x"),
        file("c", "file now"),
        link("d", b'2', "a"),
        file("d", "file"),
    ]);
    scratch.unpack("dest", &layer).unwrap();
    let read = |name: &str| fs::read_to_string(scratch.path("dest").join(name)).unwrap();
    assert_eq!(
        (read("a"), read("b"), read("c"), read("d")),
        ("two".into(), "one".into(), "file now".into(), "file".into())
    );
}

#[test]
fn attributes_of_overlayfs_are_dropped() {
    let scratch = Scratch::new();
    let attributes: [(&str, &[u8]); 6] = [
        ("SCHILY.xattr.trusted.overlay.redirect", b"/../../etc"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.other", b"1"),
        ("LIBARCHIVE.xattr.user.overlay.opaque", b"eQ=="),
        ("SCHILY.xattr.user.kept", b"value"),
    ];
    let layer = archive(&[pax(&attributes), dir("d"), pax(&attributes), file("f", "x")]);
    scratch.unpack("dest", &layer).unwrap();
    for name in ["d", "f"] {
        let seen = &picture(&scratch.path("dest"))[name];
        assert!(
            !seen.contains("overlay") && !seen.contains("trusted"),
            "{seen}"
        );
        assert!(seen.contains("user.kept"), "{seen}");
    }
}

#[test]
fn devices_that_would_wrap_into_a_whiteout_are_refused() {
    let scratch = Scratch::new();
    let mut node = member("null", b'3');
    node.device = (4096, 0);
    let error = scratch.unpack("dest", &archive(&[node])).unwrap_err();
    assert!(error.to_string().contains("no device"), "{error}");
    if is_root() {
        let mut node = member("null", b'3');
        node.device = (1, 3);
        scratch.unpack("good", &archive(&[node])).unwrap();
        assert!(picture(&scratch.path("good"))["null"].contains(" 103 "));
    }
}

#[test]
fn attributes_that_the_kernel_refuses_are_the_layers_fault() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let layer = archive(&[
        pax(&[("SCHILY.xattr.security.capability", b"junk")]),
        file("f", ""),
    ]);
    let error = scratch.unpack("dest", &layer).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt(message) if message.contains("security.capability")),
        "{error}"
    );
}

#[test]
fn names_in_messages_obey_no_terminal() {
    let scratch = Scratch::new();
    let error = scratch
        .unpack("dest", &archive(&[file("../\x1b[2J\nx", "")]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("\\u{1b}[2J\\nx"), "{error:?}");
}
