//! Texts that are wrong as a whole, and names that are wrong as keys.

use serde_json::json;

use super::{full, spec};
use crate::error::Error;

fn refused(bytes: impl AsRef<[u8]>) -> Error {
    let error = spec::parse(bytes.as_ref()).unwrap_err();
    assert!(
        !error.message.contains('\n') && error.message.len() < 1000,
        "{error}"
    );
    error
}

/// The smallest spec, with `more` in it.
fn with(more: &str) -> String {
    format!(
        r#"{{"ociVersion":"1.2.0","root":{{"path":"r"}},"process":{{"args":["a"],"cwd":"/","user":{{"uid":0,"gid":0}}}}{more}}}"#
    )
}

#[test]
fn texts_that_are_no_spec() {
    spec::parse(with("").as_bytes()).unwrap();
    for text in [
        "",
        " ",
        "null",
        "7",
        "[]",
        "\"x\"",
        "{",
        "{}x",
        "{}",
        "\u{feff}{}",
        "{'a':1}",
        "{\"ociVersion\":NaN}",
    ] {
        refused(text);
    }
    refused(with("") + "}");
    refused(with(r#","hostname":"a\ud800""#));
    refused(with(",\"hostname\":\"a\0\""));
    refused(with(r#","linux":{"resources":{"pids":{"limit":1e999}}}"#));
    refused(with(&format!(
        r#","linux":{{"resources":{{"pids":{{"limit":{}}}}}}}"#,
        "9".repeat(100_000)
    )));
}

#[test]
fn bytes_that_are_no_text() {
    for field in ["hostname", "unknown"] {
        let text = with(&format!(r#","{field}":"a?b""#)).replace('?', "\u{1}");
        let bytes: Vec<u8> = text
            .bytes()
            .map(|b| if b == 1 { 0xff } else { b })
            .collect();
        assert!(refused(bytes).message.contains("UTF-8"));
    }
}

#[test]
fn sizes_without_end() {
    let long = " ".repeat(64 << 20) + &with("");
    assert!(refused(long).message.contains("16 MiB"));
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = open.repeat(200_000);
        for field in ["annotations", "process", "mounts", "unknown"] {
            refused(with(&format!(r#","{field}":{deep}"#)));
        }
        // What nobody knows is passed over, at any depth.
        let closed = format!("{deep}1{}", close.repeat(200_000));
        spec::parse(with(&format!(r#","unknown":{closed}"#)).as_bytes()).unwrap();
    }
}

#[test]
fn keys_are_there_once() {
    for (more, name) in [
        (r#","hostname":"a","hostname":"b""#, "hostname"),
        (r#","annotations":{"a":"1","a":"2"}"#, "annotations"),
        (
            r#","linux":{"sysctl":{"net.a":"1","net.\u0061":"2"}}"#,
            "linux.sysctl",
        ),
        (
            r#","linux":{"resources":{"unified":{"a.b":"1","a.b":"1"}}}"#,
            "linux.resources.unified",
        ),
        (r#","linux":{},"linux":{}"#, "linux"),
    ] {
        let error = refused(with(more)).message;
        assert!(
            error.contains("duplicate") && error.contains(name),
            "{error}"
        );
    }
}

#[test]
fn a_list_is_no_object() {
    for (more, name) in [
        (r#","linux":[]"#, "linux"),
        (
            r#","linux":{"resources":{"pids":[5]}}"#,
            "linux.resources.pids",
        ),
        (r#","mounts":[["/x"]]"#, "mounts[0]"),
    ] {
        let error = refused(with(more)).message;
        assert!(
            error.starts_with(&format!("{name}: invalid type: sequence")),
            "{error}"
        );
    }
}

#[test]
fn other_platforms() {
    for platform in ["windows", "solaris", "vm", "zos"] {
        spec::parse(with(&format!(r#","{platform}":{{}}"#)).as_bytes()).unwrap();
        spec::parse(with(&format!(r#","{platform}":null"#)).as_bytes()).unwrap();
        let asked = match platform {
            "windows" => json!({ "layerFolders": ["a"] }),
            "vm" => json!({ "kernel": { "path": "/k" } }),
            "solaris" => json!({ "milestone": "m" }),
            _ => json!({ "namespaces": [{ "type": "pid" }] }),
        };
        let error = refused(with(&format!(r#","{platform}":{asked}"#))).message;
        assert!(error.contains(platform), "{error}");
    }
}

/// Keys that are values: of each map one that is wrong.
#[test]
fn names_that_are_keys() {
    for (map, key, value) in [
        ("/annotations", "", json!("x")),
        ("/linux/sysctl", "kernel.core_pattern", json!("|/evil")),
        ("/linux/sysctl", "vm.swappiness", json!("1")),
        ("/linux/timeOffsets", "realtime", json!({ "secs": 1 })),
        ("/linux/netDevices", "a/b", json!({})),
        ("/linux/netDevices", "", json!({})),
        ("/linux/resources/unified", "../../x.y", json!("1")),
        ("/linux/resources/unified", "memory", json!("1")),
        ("/linux/resources/rdma", "a b", json!({ "hcaHandles": 1 })),
        ("/linux/resources/rdma", "mlx", json!({})),
    ] {
        let mut document = full();
        document.pointer_mut(map).unwrap()[key] = value;
        let error = refused(document.to_string()).message;
        let field = map[1..].replace('/', ".");
        assert!(
            error.contains(&field) && error.contains(key),
            "{key}: {error}"
        );
    }
}

/// Numbers and words that are only wrong together.
#[test]
fn combinations() {
    for (pointer, value, field) in [
        (
            "/linux/namespaces/1/type",
            json!("mount"),
            "linux.namespaces[1].type",
        ),
        (
            "/process/scheduler/policy",
            json!("SCHED_FIFO"),
            "process.scheduler.priority",
        ),
        (
            "/process/scheduler/policy",
            json!("SCHED_OTHER"),
            "process.scheduler.runtime",
        ),
        (
            "/linux/seccomp/syscalls/0/action",
            json!("SCMP_ACT_ALLOW"),
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (
            "/linux/seccomp/syscalls/0/errnoRet",
            json!(4096),
            "linux.seccomp.syscalls[0].errnoRet",
        ),
        (
            "/linux/seccomp/syscalls/1/names/0",
            json!("sendmsg"),
            "linux.seccomp.syscalls[1].action",
        ),
        (
            "/linux/resources/memory/swap",
            json!(1000),
            "linux.resources.memory.swap",
        ),
        (
            "/linux/resources/cpu/quota",
            json!(999),
            "linux.resources.cpu.quota",
        ),
        (
            "/linux/resources/cpu/burst",
            json!(50_001),
            "linux.resources.cpu.burst",
        ),
        (
            "/linux/resources/pids/limit",
            json!(4_194_305),
            "linux.resources.pids.limit",
        ),
        (
            "/linux/resources/blockIO/weight",
            json!(9),
            "linux.resources.blockIO.weight",
        ),
        (
            "/linux/uidMappings/0/hostID",
            json!(4_294_967_290u32),
            "linux.uidMappings[0].hostID",
        ),
        ("/linux/devices/0/type", json!("a"), "linux.devices[0].type"),
        (
            "/process/user/additionalGids/0",
            json!(4_294_967_295u32),
            "process.user.additionalGids[0]",
        ),
        (
            "/hooks/poststop/0/path",
            json!("bin/x"),
            "hooks.poststop[0].path",
        ),
        (
            "/hooks/prestart/0/timeout",
            json!(0),
            "hooks.prestart[0].timeout",
        ),
        ("/process/env/0", json!("NAME"), "process.env[0]"),
        ("/process/env/0", json!("=value"), "process.env[0]"),
        ("/hostname", json!("x".repeat(65)), "hostname"),
        ("/linux/cgroupsPath", json!("/../x"), "linux.cgroupsPath"),
        (
            "/linux/maskedPaths/0",
            json!("proc"),
            "linux.maskedPaths[0]",
        ),
        ("/ociVersion", json!("1.x"), "ociVersion"),
    ] {
        let mut document = full();
        *document.pointer_mut(pointer).unwrap() = value;
        let error = refused(document.to_string()).message;
        assert!(error.contains(field), "{field}: {error}");
    }
}
