//! Layers over layers: whiteouts, implied directories and hard links into what is below, as overlayfs shows them.
mod common;

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use common::{Member, Scratch, archive, dir, file, link, pax};
use pyd_layers::{Error, LayerStack, settle_layer};
use pyd_sys::xattr;

/// Unpacks and settles layers, lowest first; their directories, nearest (last) first.
fn stack(scratch: &Scratch, layers: &[&[Member]]) -> Result<Vec<PathBuf>, Error> {
    let mut below = LayerStack::default();
    let mut parents: Vec<PathBuf> = Vec::new();
    for (index, members) in layers.iter().enumerate() {
        let name = format!("layer{index}");
        let layer = scratch.unpack(&name, &archive(members))?;
        below.settle(&layer.unsettled, &scratch.path(&name))?;
        parents.insert(0, scratch.path(&name));
    }
    Ok(parents)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    [c"trusted.overlay.opaque", c"user.overlay.opaque"]
        .iter()
        .any(|name| xattr::lget(&path, name).is_ok_and(|value| value == b"y"))
}

fn changed(mut member: Member, change: impl FnOnce(&mut Member)) -> Member {
    change(&mut member);
    member
}

#[test]
fn whiteouts_hide_only_what_is_below() {
    let scratch = Scratch::new();
    let layer = [
        file("d/.wh.gone", ""),
        file(".wh.replaced", ""),
        file("replaced", "new"),
        file("kept", "new"),
        file(".wh.kept", ""),
        file(".wh.anew", ""),
        dir("anew"),
        file("anew/x", "x"),
        dir("before"),
        file(".wh.before", ""),
        dir("opaque"),
        file("opaque/.wh..wh..opq", ""),
        file("implied/.wh..wh..opq", ""),
    ];
    let top = stack(&scratch, &[&layer]).unwrap().remove(0);
    assert!(is_whiteout(&top.join("d/gone")));
    assert_eq!(fs::read(top.join("replaced")).unwrap(), b"new");
    assert_eq!(fs::read(top.join("kept")).unwrap(), b"new");
    assert!(fs::read(top.join("anew/x")).is_ok());
    for opaque in ["anew", "before", "opaque", "implied"] {
        assert!(is_opaque(&top.join(opaque)), "{opaque}");
    }
    assert!(!is_opaque(&top.join("d")));
}

#[test]
fn implied_directories_look_like_the_lower_ones() {
    let scratch = Scratch::new();
    let below = [
        changed(dir("./"), |d| d.mode = 0o711),
        pax(&[("SCHILY.xattr.user.a", b"b")]),
        changed(dir("etc"), |d| {
            d.mode = 0o2750;
            d.mtime = 1_234_567_890;
        }),
        dir("etc/sub"),
    ];
    let above = [file("etc/sub/new/f", "x")];
    let top = stack(&scratch, &[&below, &[file("other", "")], &above])
        .unwrap()
        .remove(0);
    let etc = fs::metadata(top.join("etc")).unwrap();
    assert_eq!((etc.mode() & 0o7777, etc.mtime()), (0o2750, 1_234_567_890));
    assert_eq!(fs::metadata(&top).unwrap().mode() & 0o7777, 0o711);
    assert_eq!(
        fs::metadata(top.join("etc/sub")).unwrap().mtime(),
        1_000_000_000
    );
    assert_eq!(
        fs::metadata(top.join("etc/sub/new")).unwrap().mode() & 0o7777,
        0o755
    );
    let path = CString::new(top.join("etc").as_os_str().as_bytes()).unwrap();
    assert_eq!(xattr::lget(&path, c"user.a").unwrap(), b"b");
}

#[test]
fn what_is_hidden_below_lends_nothing() {
    let scratch = Scratch::new();
    let lowest = [
        changed(dir("d"), |d| d.mode = 0o700),
        changed(dir("o/d"), |d| d.mode = 0o700),
        file("o/d/f", ""),
    ];
    let middle = [file(".wh.d", ""), dir("o"), file("o/.wh..wh..opq", "")];
    let top = stack(
        &scratch,
        &[&lowest, &middle, &[file("d/x", ""), file("o/d/x", "")]],
    )
    .unwrap()
    .remove(0);
    assert_eq!(fs::metadata(top.join("d")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(
        fs::metadata(top.join("o/d")).unwrap().mode() & 0o7777,
        0o755
    );
    let hidden = stack(&scratch, &[&lowest, &middle, &[link("h", b'1', "o/d/f")]]);
    assert!(matches!(hidden, Err(Error::Corrupt(message)) if message.contains("does not exist")));
}

#[test]
fn hard_links_into_lower_layers_are_copied_up() {
    let scratch = Scratch::new();
    let below = [
        changed(dir("bin"), |d| d.mode = 0o700),
        pax(&[("SCHILY.xattr.user.a", b"b")]),
        changed(file("bin/tool", "program"), |f| f.mode = 0o4755),
        link("bin/link", b'2', "tool"),
    ];
    let above = [
        dir("new"),
        link("new/one", b'1', "bin/tool"),
        link("new/two", b'1', "new/one"),
        link("new/link", b'1', "/bin/link"),
        link("new/late", b'1', "bin/tool"),
        file("new/late", "overwritten"),
    ];
    let top = stack(&scratch, &[&below, &above]).unwrap().remove(0);
    let stat = |name: &str| fs::symlink_metadata(top.join(name)).unwrap();
    assert_eq!(fs::read(top.join("new/one")).unwrap(), b"program");
    assert_eq!(stat("new/one").ino(), stat("new/two").ino());
    assert_eq!(stat("new/one").ino(), stat("bin/tool").ino());
    assert_eq!(
        (stat("new/one").mode() & 0o7777, stat("new/one").mtime()),
        (0o4755, 1_000_000_000)
    );
    assert_eq!(
        fs::read_link(top.join("new/link")).unwrap(),
        Path::new("tool")
    );
    assert_eq!(fs::read(top.join("new/late")).unwrap(), b"overwritten");
    assert_eq!(stat("bin").mode() & 0o7777, 0o700);
    // The links did not change the time that the layer gives their directory.
    assert_eq!(stat("new").mtime(), 1_000_000_000);
}

#[test]
fn a_hard_link_to_nothing_is_refused() {
    let scratch = Scratch::new();
    let result = stack(&scratch, &[&[link("a", b'1', "missing/file")]]);
    assert!(
        matches!(&result, Err(Error::Corrupt(message)) if message.contains("missing/file")),
        "{result:?}"
    );
    let result = stack(&scratch, &[&[dir("d")], &[link("a", b'1', "d")]]);
    assert!(
        matches!(&result, Err(Error::Corrupt(message)) if message.contains("directory")),
        "{result:?}"
    );
}

#[test]
fn an_opaque_root_hides_everything_below() {
    let scratch = Scratch::new();
    let below = [dir("etc"), dir("usr"), file("f", "")];
    let top = stack(
        &scratch,
        &[
            &below,
            &[file(".wh..wh..opq", ""), dir("usr"), file("g", "")],
        ],
    )
    .unwrap()
    .remove(0);
    assert!(is_whiteout(&top.join("etc")) && is_whiteout(&top.join("f")));
    assert!(is_opaque(&top.join("usr")));
    assert_eq!(fs::read_dir(&top).unwrap().count(), 4);
}

#[test]
fn what_was_seen_of_a_layer_is_true_of_every_layer_above() {
    let scratch = Scratch::new();
    let mode = |mode| move |member: &mut Member| member.mode = mode;
    let layers: [&[Member]; 6] = [
        &[
            dir("a"),
            changed(dir("a/b"), mode(0o701)),
            changed(dir("a/c"), mode(0o702)),
        ],
        &[file("a/b/one", "")],
        &[dir("a"), file("a/.wh..wh..opq", "")],
        &[file("a/c/two", ""), file(".wh.x", "")],
        &[changed(dir("a/b"), mode(0o703)), file("x/three", "")],
        &[file("a/b/four", ""), file("x/four", "")],
    ];
    let parents = stack(&scratch, &layers).unwrap();
    let mode = |layer: usize, path: &str| {
        fs::metadata(parents[5 - layer].join(path)).unwrap().mode() & 0o777
    };
    assert_eq!(mode(1, "a/b"), 0o701);
    // The opaque directory hides what is below it.
    assert_eq!(mode(3, "a/c"), 0o755);
    assert_eq!(mode(5, "a/b"), 0o703);
    // The same, each with all layers looked at anew.
    for (index, members) in layers.iter().enumerate() {
        let name = format!("again{index}");
        let layer = scratch.unpack(&name, &archive(members)).unwrap();
        let below = &parents[6 - index..];
        settle_layer(&layer.unsettled, &scratch.path(&name), below).unwrap();
        for directory in ["a", "a/b", "a/c", "x"] {
            let mode = |layer: &Path| Some(fs::metadata(layer.join(directory)).ok()?.mode());
            assert_eq!(
                mode(&scratch.path(&name)),
                mode(&parents[5 - index]),
                "{directory} of layer {index}"
            );
        }
    }
}
