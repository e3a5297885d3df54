//! Mounts made from layers (type `dev.pyd.layers`), as a step of a build has them.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use common::Bundle;
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::{Value, json};

/// A directory of layers, beside the bundle's root.
struct Layers(PathBuf);

impl Layers {
    fn of(bundle: &Bundle) -> Self {
        Self(bundle.dir.join("layers"))
    }

    /// The directory of a layer.
    fn dir(&self, layer: &str) -> PathBuf {
        let dir = self.0.join(layer);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn file(&self, layer: &str, path: &str, text: &str) {
        let path = self.dir(layer).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn whiteout(&self, layer: &str, path: &str) {
        let path = self.dir(layer).join(path);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    }

    fn link(&self, layer: &str, path: &str, target: &str) {
        symlink(target, self.dir(layer).join(path)).unwrap();
    }

    /// The source of a mount of these layers, top first.
    fn source(&self, layers: &[&str], more: Value) -> String {
        let lower: Vec<PathBuf> = layers.iter().map(|layer| self.dir(layer)).collect();
        let mut source = json!({ "lower": lower });
        let fields = more.as_object().unwrap().clone();
        source.as_object_mut().unwrap().extend(fields);
        source.to_string()
    }

    /// The fields of a writable one.
    fn upper(&self) -> Value {
        json!({ "upper": self.dir("upper"), "work": self.dir("work") })
    }
}

fn with(bundle: Bundle, source: &str, destination: &str, options: &[&str]) -> Bundle {
    bundle.mount("dev.pyd.layers", Path::new(source), destination, options)
}

fn part(path: &str) -> Value {
    json!({ "subpath": path })
}

#[test]
fn layers_are_merged() {
    need_root!();
    let bundle = Bundle::new(
        "cd /m && ls . both below; cat both/top both/bottom changed; cat gone 2>&1; touch x 2>&1; true",
    );
    let layers = Layers::of(&bundle);
    layers.file("top", "both/top", "1\n");
    layers.file("top", "changed", "2\n");
    layers.whiteout("top", "gone");
    layers.file("bottom", "both/bottom", "3\n");
    layers.file("bottom", "below/kept", "");
    layers.file("bottom", "changed", "old\n");
    layers.file("bottom", "gone", "old\n");
    let bundle = with(
        bundle,
        &layers.source(&["top", "bottom"], json!({})),
        "/m",
        &[],
    );
    assert_eq!(
        bundle.output(),
        ".:\nbelow\nboth\nchanged\n\nbelow:\nkept\n\nboth:\nbottom\ntop\n1\n3\n2\n\
         cat: can't open 'gone': No such file or directory\ntouch: x: Read-only file system\n"
    );
}

#[test]
fn one_layer_alone_hides_its_whiteouts() {
    need_root!();
    let script = "ls /m; stat -c %a /m; cat /m/gone /m/dir/gone 2>&1; cat /n/file";
    let bundle = Bundle::new(&format!("{script}; true"));
    let layers = Layers::of(&bundle);
    layers.file("one", "dir/file", "here\n");
    layers.whiteout("one", "gone");
    layers.whiteout("one", "dir/gone");
    fs::set_permissions(layers.dir("one"), PermissionsExt::from_mode(0o711)).unwrap();
    let bundle = with(bundle, &layers.source(&["one"], json!({})), "/m", &[]);
    let bundle = with(bundle, &layers.source(&["one"], part("dir")), "/n", &[]);
    let said = "dir\n711\ncat: can't open '/m/gone': No such file or directory\n\
                cat: can't open '/m/dir/gone': No such file or directory\nhere\n";
    assert_eq!(bundle.output(), said);
    // The directory below is the bundle's; a second start finds it.
    assert_eq!(bundle.output(), said);
    fs::write(bundle.dir.join("empty-2/x"), "").unwrap();
    let (_, error) = bundle.error();
    assert!(error.contains("cannot mount /m: mkdir "), "{error}");
}

#[test]
fn writes_go_to_the_upper_directory() {
    need_root!();
    let bundle = Bundle::new("echo new > /m/made; echo more >> /m/file; rm /m/dir/gone; ls /m/dir");
    let layers = Layers::of(&bundle);
    layers.file("one", "file", "old\n");
    layers.file("one", "dir/gone", "");
    let bundle = with(
        bundle,
        &layers.source(&["one"], layers.upper()),
        "/m",
        &["rw"],
    );
    assert_eq!(bundle.output(), "");
    let read = |name| fs::read_to_string(layers.dir("upper").join(name)).unwrap();
    assert_eq!(
        (read("made"), read("file")),
        ("new\n".into(), "old\nmore\n".into())
    );
    assert_eq!(
        fs::read_to_string(layers.dir("one").join("file")).unwrap(),
        "old\n"
    );
}

#[test]
fn no_layer_is_an_empty_tree() {
    need_root!();
    let mut bundle = Bundle::new("");
    let layers = Layers::of(&bundle);
    layers.file("one", "busybox", "");
    fs::copy("/bin/busybox", layers.dir("one").join("busybox")).unwrap();
    let busybox = json!([
        "/m/busybox",
        "sh",
        "-c",
        "/m/busybox ls -A / /none; echo x > /made"
    ]);
    bundle.spec["process"]["args"] = busybox;
    let (upper, work) = (bundle.dir.join("upper"), bundle.dir.join("work"));
    fs::create_dir_all(&upper).unwrap();
    fs::create_dir_all(&work).unwrap();
    let overlay = json!({ "lower": [], "upper": upper, "work": work });
    bundle.spec["annotations"]["dev.pyd.overlay"] = json!(overlay.to_string());
    let bundle = with(bundle, &layers.source(&["one"], part("")), "/m", &[]);
    let bundle = with(bundle, &layers.source(&[], json!({})), "/none", &[]);
    assert_eq!(bundle.output(), "/:\ndev\nm\nnone\nproc\nsys\n\n/none:\n");
    assert_eq!(fs::read_to_string(upper.join("made")).unwrap(), "x\n");
}

#[test]
fn options_are_those_of_a_bind_mount() {
    need_root!();
    let bundle =
        Bundle::new("touch /m/x 2>&1; /m/sh -c true 2>&1; grep ' /m ' /proc/self/mountinfo");
    let layers = Layers::of(&bundle);
    fs::copy("/bin/busybox", layers.dir("one").join("sh")).unwrap();
    let source = layers.source(&["one"], layers.upper());
    let bundle = with(bundle, &source, "/m", &["ro", "nosuid", "nodev", "noexec"]);
    let text = bundle.output();
    assert!(
        text.starts_with("touch: /m/x: Read-only file system\n"),
        "{text}"
    );
    assert!(text.contains("/m/sh: Permission denied"), "{text}");
    assert!(text.contains(" /m ro,nosuid,nodev,noexec,"), "{text}");
}

#[test]
fn a_part_of_the_layers() {
    need_root!();
    let bundle = Bundle::new(
        "ls /d; cat /d/file /new/f /etc/passwd /linked /up; stat -c %F /new/f; cat /w/file; echo w > /w/file",
    );
    let layers = Layers::of(&bundle);
    layers.file("top", "a/b/file", "top\n");
    layers.file("bottom", "a/b/below", "");
    layers.file("bottom", "w/file", "w0\n");
    layers.link("bottom", "relative", "a/../a/b");
    layers.link("top", "absolute", "/relative/file");
    let from = |path| layers.source(&["top", "bottom"], part(path));
    let mut writable = layers.upper();
    writable["subpath"] = json!("/w");
    let bundle = with(bundle, &from("a/b"), "/d", &["ro"]);
    let bundle = with(bundle, &from("/a/b/file"), "/new/f", &["ro"]);
    let bundle = with(bundle, &from("./a/b/file"), "/etc/passwd", &["ro"]);
    let bundle = with(bundle, &from("absolute"), "/linked", &["ro"]);
    let bundle = with(bundle, &from("../../relative/file"), "/up", &["ro"]);
    let bundle = with(
        bundle,
        &layers.source(&["top", "bottom"], writable),
        "/w",
        &["rw"],
    );
    let text = bundle.output();
    assert_eq!(
        text,
        "below\nfile\ntop\ntop\ntop\ntop\ntop\nregular file\nw0\n"
    );
    assert_eq!(
        fs::read_to_string(layers.dir("upper").join("w/file")).unwrap(),
        "w\n"
    );
    // What was missing was made in the root, as for a bind mount.
    assert_eq!(fs::metadata(bundle.root().join("new/f")).unwrap().len(), 0);
}

#[test]
fn links_of_the_layers_stay_inside() {
    need_root!();
    let bundle = Bundle::new("cat /1/passwd /2 /3");
    let layers = Layers::of(&bundle);
    layers.file("one", "etc/passwd", "inside\n");
    layers.link("one", "x", "../../../../../../../../etc");
    layers.link("one", "y", "/etc/passwd");
    layers.link("one", "deep", "x/../../../x");
    let from = |path| layers.source(&["one"], part(path));
    let bundle = with(bundle, &from("x"), "/1", &[]);
    let bundle = with(bundle, &from("y"), "/2", &[]);
    let bundle = with(
        bundle,
        &from("deep/../../../../../../etc/passwd"),
        "/3",
        &[],
    );
    assert_eq!(bundle.output(), "inside\ninside\ninside\n");
}

#[test]
fn a_part_that_is_missing_is_named() {
    need_root!();
    let bundle = Bundle::new("true");
    let layers = Layers::of(&bundle);
    layers.file("one", "file", "");
    layers.whiteout("one", "gone");
    layers.link("one", "loop", "loop");
    layers.link("one", "host", "/bin/busybox");
    let mut bundle = with(bundle, "", "/m", &[]);
    for (path, said) in [
        ("not/there", "open not/there: no such file or directory"),
        ("gone", "open gone: no such file or directory"),
        ("file/x", "open file/x: not a directory"),
        ("loop", "open loop: too many symbolic links"),
        ("host", "open host: no such file or directory"),
    ] {
        let mount = bundle.spec["mounts"].as_array_mut().unwrap().last_mut();
        mount.unwrap()["source"] = json!(layers.source(&["one"], part(path)));
        let (_, error) = bundle.error();
        assert!(
            error.contains(&format!("cannot mount /m: subpath: {said}")),
            "{error}"
        );
    }
    let mount = bundle.spec["mounts"].as_array_mut().unwrap().last_mut();
    mount.unwrap()["source"] = json!(format!(r#"{{"lower":["{}/no"]}}"#, layers.0.display()));
    let (_, error) = bundle.error();
    assert!(error.contains("/layers/no: "), "{error}");
}

#[test]
fn order_among_other_mounts() {
    need_root!();
    let bundle = Bundle::new("ls /m /m/tmp /m/again; cat /m/again/file");
    let layers = Layers::of(&bundle);
    layers.file("one", "tmp/hidden", "");
    layers.file("one", "again/hidden", "");
    layers.file("two", "file", "two\n");
    fs::create_dir_all(bundle.root().join("m/hidden")).unwrap();
    let bundle = bundle.mount("tmpfs", Path::new("tmpfs"), "/m", &[]);
    let bundle = with(bundle, &layers.source(&["one"], json!({})), "/m", &[]);
    let bundle = bundle.mount("tmpfs", Path::new("tmpfs"), "/m/tmp", &[]);
    let bundle = with(bundle, &layers.source(&["two"], json!({})), "/m/again", &[]);
    let text = bundle.output();
    assert_eq!(text, "/m:\nagain\ntmp\n\n/m/again:\nfile\n\n/m/tmp:\ntwo\n");
}

#[test]
fn sixty_layers() {
    need_root!();
    let bundle = Bundle::new("cat /m/common; ls /m | wc -l; cat /p");
    let layers = Layers::of(&bundle);
    let names: Vec<String> = (0..60).map(|n| format!("layer-{n:02}")).collect();
    for name in &names {
        layers.file(name, "common", &format!("{name}\n"));
        layers.file(name, name, &format!("{name}\n"));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bundle = with(bundle, &layers.source(&names, layers.upper()), "/m", &[]);
    let bundle = with(bundle, &layers.source(&names, part("layer-59")), "/p", &[]);
    assert_eq!(bundle.output(), "layer-00\n61\nlayer-59\n");
}

#[test]
fn in_a_user_namespace() {
    need_root!();
    let mut bundle =
        Bundle::new("id -u; cat /m/file; echo x > /m/made; cat /p/file; touch /p/x 2>&1; true");
    let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    bundle.spec["linux"]["uidMappings"] = map.clone();
    bundle.spec["linux"]["gidMappings"] = map;
    let namespaces = bundle.spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "user" }));
    let layers = Layers::of(&bundle);
    layers.file("one", "file", "whole\n");
    layers.file("two", "private/open/file", "part\n");
    for dir in [layers.dir("upper"), layers.dir("one"), bundle.root()] {
        chown(dir, Some(200_000), Some(200_000)).unwrap();
    }
    // Its root walks to nothing of this; the overlays were made before.
    for dir in [layers.0.clone(), layers.dir("two").join("private")] {
        fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).unwrap();
    }
    let bundle = with(bundle, &layers.source(&["one"], layers.upper()), "/m", &[]);
    let bundle = with(
        bundle,
        &layers.source(&["two"], part("private/open")),
        "/p",
        &[],
    );
    let text = bundle.output();
    assert_eq!(text, "0\nwhole\npart\ntouch: /p/x: Read-only file system\n");
    assert_eq!(
        fs::metadata(layers.dir("upper").join("made"))
            .unwrap()
            .uid(),
        200_000
    );
}

#[test]
fn a_wrong_mount_names_its_field() {
    need_root!();
    let bundle = Bundle::new("true");
    let layers = Layers::of(&bundle);
    let good = layers.source(&["one"], json!({}));
    let index = bundle.spec["mounts"].as_array().unwrap().len();
    let mut bundle = with(bundle, "", "/m", &[]);
    for (source, options, said) in [
        ("", json!([]), "source: "),
        ("/a:/b", json!([]), "source: "),
        (
            r#"{"lower":["a"]}"#,
            json!([]),
            "source: \"lower\": a is not absolute",
        ),
        (
            r#"{"lower":["/a"],"uper":"/b"}"#,
            json!([]),
            "source: uper: unknown field",
        ),
        (&good, json!(["bind"]), "options: \"bind\" means nothing"),
        (
            &good,
            json!(["rw", "remount"]),
            "options: \"remount\" means nothing",
        ),
        (
            &good,
            json!(["tmpcopyup"]),
            "options: \"tmpcopyup\" means nothing",
        ),
        (&good, json!(["idmap"]), "options: \"idmap\" means nothing"),
        (
            &good,
            json!(["dev.pyd.subpath=x"]),
            "options: \"dev.pyd.subpath\" means",
        ),
        (
            &good,
            json!(["upperdir=/x"]),
            "options: \"upperdir\" means nothing",
        ),
    ] {
        let mount = &mut bundle.spec["mounts"][index];
        mount["source"] = json!(source);
        mount["options"] = options;
        let (_, error) = bundle.error();
        assert!(
            error.contains(&format!("mounts[{index}].{said}")),
            "{error}"
        );
    }
    let mount = &mut bundle.spec["mounts"][index];
    mount.as_object_mut().unwrap().remove("source");
    mount["options"] = json!([]);
    let (_, error) = bundle.error();
    assert!(
        error.contains(&format!("mounts[{index}].source: ")),
        "{error}"
    );
}

#[test]
fn nothing_of_it_lies_on_proc() {
    need_root!();
    let bundle = Bundle::new("true");
    let layers = Layers::of(&bundle);
    layers.file("one", "self/status", "a lie\n");
    let bundle = with(bundle, &layers.source(&["one"], json!({})), "/proc", &[]);
    let (_, error) = bundle.error();
    assert!(
        error.contains("only a procfs can be mounted on /proc"),
        "{error}"
    );
}
