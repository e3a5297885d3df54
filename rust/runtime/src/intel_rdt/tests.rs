//! Against a directory that looks like resctrl: no machine here has the hardware.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

/// A directory of this test's own that goes with it.
struct Resctrl(PathBuf);

impl Resctrl {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("pyd-resctrl-{name}-{}", std::process::id()));
        for directory in [
            "info/L3",
            "info/MB",
            "info/L3_MON",
            "mon_groups",
            "ready/mon_groups",
        ] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(
            root.join("info/L3_MON/mon_features"),
            "llc_occupancy\nmbm_total_bytes\n",
        )
        .unwrap();
        fs::write(
            root.join("ready/schemata"),
            "    MB:0=100;1= 50\n    L3:0=00fff;1=fffff\n",
        )
        .unwrap();
        Self(root)
    }

    fn make(&self, rdt: Value) -> Result<IntelRdt> {
        let rdt = serde_json::from_value(rdt).unwrap();
        check(&rdt)?;
        make(&self.0, &rdt, "box")
    }

    /// One field, also those that the library knows under another name.
    fn set(&self, field: &str, value: Value) -> Result<IntelRdt> {
        let text = json!({
            "ociVersion": "1.2.0", "root": { "path": "r" },
            "process": { "args": ["a"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            "linux": { "intelRdt": { field: value } },
        });
        let spec = crate::spec::parse(text.to_string().as_bytes())?;
        let rdt = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.intel_rdt().as_ref());
        make(&self.0, rdt.unwrap(), "box")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap()
    }
}

impl Drop for Resctrl {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A kernel's directory goes with its files; a plain one must be emptied first.
fn empty(directory: &Path) {
    for file in ["tasks", "schemata"] {
        let _ = fs::remove_file(directory.join(file));
    }
}

#[test]
fn a_class_of_its_own_is_made_joined_and_removed() {
    let host = Resctrl::new("own");
    let made = host
        .make(json!({ "l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=20" }))
        .unwrap();
    assert_eq!(host.read("box/schemata"), "L3:0=f\nMB:0=20\n");
    made.add(Pid::from_raw(4711)).unwrap();
    assert_eq!(host.read("box/tasks"), "4711");
    empty(&host.0.join("box"));
    made.remove().unwrap();
    assert!(!host.0.join("box").exists());
    made.remove().unwrap();
}

#[test]
fn a_named_class_stays_and_is_never_changed() {
    let host = Resctrl::new("named");
    let made = host
        .make(json!({ "closID": "ready", "schemata": ["L3:0=fff;1=fffff", "MB:1=50"] }))
        .unwrap();
    made.add(Pid::from_raw(7)).unwrap();
    made.remove().unwrap();
    assert_eq!(host.read("ready/tasks"), "7");
    let error = host
        .make(json!({ "closID": "ready", "l3CacheSchema": "L3:0=f" }))
        .unwrap_err();
    assert!(error.message.contains("linux.intelRdt.closID"), "{error}");
    assert!(host.read("ready/schemata").contains("00fff"));
    // New with a schema, refused without.
    host.make(json!({ "closID": "new", "l3CacheSchema": "L3:0=f" }))
        .unwrap()
        .remove()
        .unwrap();
    assert!(host.0.join("new").is_dir());
    assert!(
        host.make(json!({ "closID": "absent" }))
            .unwrap_err()
            .message
            .contains("closID")
    );
}

#[test]
fn monitoring_has_a_group_of_the_container() {
    let host = Resctrl::new("monitoring");
    for (class, directory) in [("ready", "ready/mon_groups/box"), ("/", "mon_groups/box")] {
        let made = host
            .make(json!({ "closID": class, "enableMonitoring": true }))
            .unwrap();
        made.add(Pid::from_raw(8)).unwrap();
        assert_eq!(host.read(&format!("{directory}/tasks")), "8");
        empty(&host.0.join(directory));
        made.remove().unwrap();
        assert!(!host.0.join(directory).exists());
        assert!(host.0.join("ready").is_dir());
    }
}

#[test]
fn a_class_in_use_is_not_taken() {
    let host = Resctrl::new("used");
    fs::create_dir(host.0.join("box")).unwrap();
    host.make(json!({})).unwrap();
    fs::write(host.0.join("box/tasks"), "1\n").unwrap();
    assert!(host.make(json!({})).unwrap_err().message.contains("in use"));
}

#[test]
fn what_the_processor_lacks_is_named() {
    let host = Resctrl::new("lacking");
    for directory in ["info/L3", "info/MB", "info/L3_MON"] {
        fs::remove_dir_all(host.0.join(directory)).unwrap();
    }
    for (field, value) in [
        ("l3CacheSchema", json!("L3:0=f")),
        ("memBwSchema", json!("MB:0=10")),
        ("enableCMT", json!(true)),
        ("enableMBM", json!(true)),
        ("enableMonitoring", json!(true)),
    ] {
        let error = host.set(field, value).unwrap_err();
        assert!(
            error.message.contains(&format!("linux.intelRdt.{field}")),
            "{error}"
        );
        assert!(!host.0.join("box").exists());
    }
}

#[test]
fn wrong_values_are_named() {
    for (field, value) in [
        ("closID", json!("..")),
        ("closID", json!("a/b")),
        ("closID", json!("info")),
        ("l3CacheSchema", json!("MB:0=10")),
        ("l3CacheSchema", json!("L3:nonsense")),
        ("memBwSchema", json!("L3:0=f")),
        ("memBwSchema", json!("MB:0=10\nL3:0=f")),
        ("schemata[0]", json!(["L3:0=f\nMB:0=1"])),
        ("schemata[0]", json!(["x"])),
    ] {
        let key = field.split('[').next().unwrap();
        let rdt: LinuxIntelRdt = serde_json::from_value(json!({ key: value })).unwrap();
        let error = check(&rdt).unwrap_err();
        assert!(
            error.message.contains(&format!("linux.intelRdt.{field}")),
            "{error}"
        );
    }
}
