//! What a container sees, and attacks of images and volumes on the host (the CVE numbers are the classes).

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::Bundle;
use serde_json::json;

#[test]
fn docker_s_view() {
    need_root!();
    let text = Bundle::new(
        "hostname; id -u; grep CapInh /proc/self/status; ls -A /proc/acpi | wc -l; cat /proc/keys | wc -c; \
         touch /proc/sys/x 2>/dev/null || echo ro; ls /dev; echo x > /dev/null && echo null; env; \
         ip addr show lo | grep -c LOOPBACK,UP; readlink /proc/self/cwd; ls -l /proc/self/fd",
    )
    .output();
    for part in [
        "box\n0\n",
        "CapInh:\t0000000000000000\n0\n0\nro\n",
        "null\n",
        "HOME=/root",
        "\n1\n/\n",
        "urandom\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains("CANARY"), "{text}");
}

#[test]
fn overlay_is_seen_inside_only() {
    need_root!();
    let mut bundle = Bundle::new("echo new > /new; grep ' / / ' /proc/self/mountinfo");
    let (upper, work, empty) = (
        bundle.dir.join("upper"),
        bundle.dir.join("work"),
        bundle.dir.join("empty"),
    );
    for dir in [&upper, &work, &empty] {
        fs::create_dir(dir).unwrap();
    }
    let overlay =
        json!({ "lower": [bundle.root()], "upper": upper, "work": work, "volatile": true });
    bundle.spec["annotations"]["dev.pyd.overlay"] = json!(overlay.to_string());
    bundle.spec["root"]["path"] = json!("empty");
    assert!(bundle.output().contains("overlay"));
    assert!(upper.join("new").exists() && !bundle.root().join("new").exists());
    // The kernel marks a volatile work directory as not to be used again.
    fs::remove_dir_all(&work).unwrap();
    fs::create_dir(&work).unwrap();
    let missing = json!({ "lower": ["/nosuch"], "upper": upper, "work": work });
    bundle.spec["annotations"]["dev.pyd.overlay"] = json!(missing.to_string());
    assert!(bundle.error().1.contains("/nosuch"));
}

#[test]
fn read_only_root_and_mount_options() {
    need_root!();
    let mut bundle = Bundle::new(
        "touch /x 2>/dev/null || echo root-ro; touch /data/x 2>/dev/null || echo data-ro; touch /rw/y && echo rw; \
         stat -c %a /tmp; touch /deep/under/x 2>/dev/null || echo deep-ro; cat /file; grep ' /t ' /proc/self/mountinfo",
    );
    let source = bundle.dir.join("volume");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(bundle.dir.join("one"), "content\n").unwrap();
    bundle.spec["root"]["readonly"] = json!(true);
    let file = bundle.dir.join("one");
    let bundle = bundle
        .mount("bind", &source, "/data", &["rbind", "ro"])
        .mount("bind", &source, "/rw", &["bind", "rw", "rprivate"])
        .mount("bind", &source, "/deep/under", &["rbind", "rro"])
        .mount("bind", &file, "/file", &["bind", "ro"])
        .mount("tmpfs", "tmpfs".as_ref(), "/tmp", &["nosuid", "size=1m"])
        .mount(
            "tmpfs",
            "tmpfs".as_ref(),
            "/t",
            &["noexec", "noatime", "mode=700", "size=64k"],
        );
    let text = bundle.output();
    for part in [
        "root-ro",
        "data-ro",
        "rw",
        "1777",
        "deep-ro",
        "content",
        "noexec,noatime",
        "size=64k,mode=700",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn user_namespace_with_maps() {
    need_root!();
    let mut bundle = Bundle::new(
        "id -u; cat /proc/self/uid_map; echo x > /dev/null && touch /tmp/mine; cat /vol/secret",
    );
    let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    bundle.spec["linux"]["uidMappings"] = map.clone();
    bundle.spec["linux"]["gidMappings"] = map;
    bundle.spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "user" }));
    let private = bundle.dir.join("private");
    fs::create_dir_all(private.join("volume")).unwrap();
    fs::write(private.join("volume/secret"), "kept\n").unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    chown(&bundle.root(), 200_000);
    let bundle = bundle.mount("bind", &private.join("volume"), "/vol", &["rbind", "idmap"]);
    let text = bundle.output();
    assert!(text.contains("200000") && text.contains("kept"), "{text}");
    let owner =
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(bundle.root().join("tmp/mine")).unwrap());
    assert_eq!(owner, 200_000);
}

/// Gives a tree to an id, as an engine does for a container with mapped ids.
fn chown(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|entry| chown(&entry.unwrap().path(), id));
    }
}

#[test]
fn joins_namespaces_by_path() {
    need_root!();
    let first = Bundle::new("exec sleep 100");
    first.run_detached();
    let state: serde_json::Value = serde_json::from_str(&first.ok(&["state", &first.id])).unwrap();
    let pid = &state["pid"];
    let mut second = Bundle::new("readlink /proc/self/ns/net; ps; hostname");
    for ns in second.spec["linux"]["namespaces"].as_array_mut().unwrap() {
        let name = match ns["type"].as_str().unwrap() {
            "network" => "net",
            "pid" => "pid",
            _ => continue,
        };
        ns["path"] = json!(format!("/proc/{pid}/ns/{name}"));
    }
    let text = second.output();
    let net = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert!(
        text.contains(net.to_str().unwrap()) && text.contains("sleep 100") && text.contains("box"),
        "{text}"
    );
    for ns in second.spec["linux"]["namespaces"].as_array_mut().unwrap() {
        if ns["type"] == "network" {
            ns["path"] = json!(format!("/proc/{pid}/ns/pid"));
        }
    }
    assert!(second.error().1.contains("not a network namespace"));
}

#[test]
fn time_namespace() {
    need_root!();
    let mut bundle = Bundle::new("cat /proc/uptime");
    bundle.spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "type": "time" }));
    bundle.spec["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 10_000_000 } });
    let uptime: f64 = bundle.output().split('.').next().unwrap().parse().unwrap();
    assert!(uptime > 10_000_000.0);
}

#[test]
fn linked_proc_sys_and_dev_are_refused() {
    need_root!();
    // CVE-2019-19921, CVE-2023-27561, CVE-2026-41579
    for name in ["proc", "sys", "dev"] {
        for keep_mount in [true, false] {
            let mut bundle = Bundle::new("true");
            let outside = bundle.dir.join("outside");
            fs::create_dir(&outside).unwrap();
            fs::remove_dir(bundle.root().join(name)).unwrap();
            symlink(&outside, bundle.root().join(name)).unwrap();
            if !keep_mount {
                bundle.spec["mounts"] = json!([]);
            }
            if keep_mount || name == "dev" {
                let (_, error) = bundle.error();
                assert!(error.contains("symbolic link"), "{name}: {error}");
            } else {
                bundle.run();
            }
            assert_eq!(
                fs::read_dir(&outside).unwrap().count(),
                0,
                "{name}: something was made outside"
            );
        }
    }
}

#[test]
fn volumes_cannot_cover_proc() {
    need_root!();
    // CVE-2019-16884
    for destination in ["/proc", "/proc/self/attr", "/proc/sys/kernel", "/alias"] {
        let bundle = Bundle::new("true");
        symlink("/proc/sys", bundle.root().join("alias")).unwrap();
        let volume = bundle.dir.join("volume");
        fs::create_dir(&volume).unwrap();
        let bundle = bundle.mount("bind", &volume, destination, &["rbind"]);
        let (_, error) = bundle.error();
        assert!(error.contains("proc"), "{destination}: {error}");
    }
}

#[test]
fn mount_targets_stay_in_the_root() {
    need_root!();
    let bundle = Bundle::new("ls /volume /a /x; cat /l/made-by-runtime/in");
    let outside = bundle.dir.join("outside");
    let volume = bundle.dir.join("volume");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&volume).unwrap();
    fs::write(volume.join("in"), "inside\n").unwrap();
    let up = "../".repeat(20);
    symlink(
        format!("{up}{}", outside.display()),
        bundle.root().join("l"),
    )
    .unwrap();
    symlink("/x", bundle.root().join("a")).unwrap();
    let bundle = bundle
        .mount("bind", &volume, "/volume", &["rbind"])
        .mount("bind", &volume, "/l/made-by-runtime", &["rbind"])
        .mount("bind", &volume, "/a/b", &["rbind"]);
    let text = bundle.output();
    assert!(text.contains("inside"), "{text}");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn masks_do_not_trust_the_container_s_null() {
    need_root!();
    // CVE-2025-31133: /dev is a volume in which null is a link to what shall be hidden.
    let mut bundle = Bundle::new("true").args(&["cat", "/proc/timer_list", "/secret"]);
    let dev = bundle.dir.join("dev");
    fs::create_dir(&dev).unwrap();
    symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    bundle.spec["linux"]["maskedPaths"] = json!(["/proc/timer_list", "/secret"]);
    bundle.spec["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    fs::write(bundle.root().join("secret"), "secret").unwrap();
    let bundle = bundle.mount("bind", &dev, "/dev", &["rbind"]);
    assert_eq!(bundle.output(), "");
}

#[test]
fn working_directory_is_inside() {
    need_root!();
    // CVE-2024-21626
    for number in 3..20 {
        let mut bundle = Bundle::new("pwd; ls /");
        bundle.spec["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        let (code, error) = bundle.error();
        assert!(code == 1, "{number}: {error}");
    }
    let mut bundle = Bundle::new("pwd");
    bundle.spec["process"]["cwd"] = json!("/made/for/me");
    assert_eq!(bundle.output(), "/made/for/me\n");
}

#[test]
fn the_runtime_s_own_file_cannot_be_written() {
    need_root!();
    // CVE-2019-5736: the command is the runtime itself, seen from inside.
    let before = fs::read(env!("CARGO_BIN_EXE_pyd-runtime")).unwrap();
    let bundle = Bundle::new("true").args(&["/tmp/evil"]);
    fs::write(
        bundle.root().join("tmp/evil"),
        "#!/proc/self/exe --version\n",
    )
    .unwrap();
    fs::set_permissions(
        bundle.root().join("tmp/evil"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    bundle.run();
    assert!(fs::read(env!("CARGO_BIN_EXE_pyd-runtime")).unwrap() == before);
}

#[test]
fn wrong_specs_are_one_sentence() {
    need_root!();
    for (pointer, value) in [
        ("/process/user/uid", json!("0")),
        ("/process/user/uid", json!(4_294_967_296_u64)),
        ("/process/user/uid", json!(-1)),
        ("/process/args", json!("sh")),
        ("/process/args", json!([])),
        ("/process/cwd", json!("relative")),
        ("/root", json!(null)),
        ("/linux/namespaces", json!([{ "type": "nope" }])),
        ("/linux/sysctl", json!({ "kernel.core_pattern": "|/x" })),
        ("/mounts/0/options", json!("ro")),
        ("/process/capabilities/bounding", json!(["NOPE"])),
        ("/linux/rootfsPropagation", json!("sideways")),
        ("/ociVersion", json!("2.0.0")),
    ] {
        let mut bundle = Bundle::new("true");
        match bundle.spec.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => bundle.spec["linux"][pointer.rsplit('/').next().unwrap()] = value.clone(),
        }
        let (code, error) = bundle.error();
        assert_eq!(code, 1, "{pointer} = {value}");
        assert_eq!(
            error.trim_end().lines().count(),
            1,
            "{pointer} = {value}: {error}"
        );
    }
}

#[test]
fn sysctls_of_own_namespaces() {
    need_root!();
    let mut bundle =
        Bundle::new("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni");
    bundle.spec["linux"]["sysctl"] =
        json!({ "net.ipv4.ip_unprivileged_port_start": "7", "kernel.shmmni": "77" });
    assert_eq!(bundle.output(), "7\n77\n");
}
