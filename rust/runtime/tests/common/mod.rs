//! A bundle in a temporary directory around Debian's static busybox, and the runtime run on it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Ends the test early, with the reason, where it cannot run.
#[macro_export]
macro_rules! need_root {
    () => {
        if let Some(reason) = common::missing() {
            eprintln!("skipped: {reason}");
            return;
        }
    };
}

/// Why containers cannot be run here, if they cannot.
pub fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root");
    }
    (!Path::new("/bin/busybox").exists()).then_some("needs /bin/busybox (package busybox-static)")
}

/// One bundle; removed with everything in it when dropped.
pub struct Bundle {
    pub dir: PathBuf,
    pub id: String,
    pub spec: Value,
}

impl Bundle {
    /// A bundle whose command is `sh -c script`, in the namespaces and with the mounts that Docker gives.
    pub fn new(script: &str) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("t{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(format!("pyd-runtime-test-{id}"));
        let root = dir.join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp", "root"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let applets = "sh cat ls id mount mkdir echo sleep true false stat grep ps env readlink kill touch hostname ip \
                       tty wc head umount test [ pwd stty dd chown mknod ln rm find";
        for applet in applets.split_whitespace() {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n",
        )
        .unwrap();
        let spec = spec(script, &format!("/pyd-core-test/{id}"));
        Self { dir, id, spec }
    }

    /// Directory of the container's root.
    pub fn root(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// Replaces the command.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.spec["process"]["args"] = json!(args);
        self
    }

    /// Adds a mount.
    pub fn mount(mut self, kind: &str, source: &Path, destination: &str, options: &[&str]) -> Self {
        let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    /// `run`, to its end.
    pub fn run(&self) -> Output {
        self.write();
        self.command(&["run", "-b", self.dir.to_str().unwrap(), &self.id])
    }

    /// Standard output of `run`, which must succeed.
    pub fn output(&self) -> String {
        let output = self.run();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{}\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Exit status and standard error of `run`, which must fail.
    pub fn error(&self) -> (i32, String) {
        let output = self.run();
        assert!(
            !output.status.success(),
            "it ran: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Writes config.json.
    pub fn write(&self) {
        fs::write(self.dir.join("config.json"), self.spec.to_string()).unwrap();
    }

    /// Any command of the runtime.
    pub fn command(&self, args: &[&str]) -> Output {
        runtime()
            .arg("--root")
            .arg(self.dir.join("state"))
            .args(args)
            .output()
            .unwrap()
    }

    /// A command that must succeed; gives its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{args:?}: {} {error}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A command whose container lives on: it must not hold the pipes of this test.
    pub fn detached(&self, args: &[&str]) {
        self.write();
        let mut command = runtime();
        command.arg("--root").arg(self.dir.join("state")).args(args);
        let log = fs::File::create(self.dir.join("stderr")).unwrap();
        let status = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .status()
            .unwrap();
        assert!(
            status.success(),
            "{args:?}: {}",
            fs::read_to_string(self.dir.join("stderr")).unwrap()
        );
    }

    /// Runs in the background.
    pub fn run_detached(&self) {
        self.detached(&["run", "-d", "-b", self.dir.to_str().unwrap(), &self.id]);
    }

    /// Mounts of the host below the bundle, cgroups of the container, entries in the state directory.
    pub fn leftovers(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = self.dir.to_str().unwrap();
        let mut left: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(dir))
            .map(str::to_owned)
            .collect();
        for hierarchy in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let group = hierarchy.path().join("pyd-core-test").join(&self.id);
            if group.exists() {
                left.push(group.display().to_string());
            }
        }
        let states = fs::read_dir(self.dir.join("state"))
            .into_iter()
            .flatten()
            .flatten();
        left.extend(states.map(|entry| entry.path().display().to_string()));
        left
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.id]);
        if !std::thread::panicking() {
            assert_eq!(self.leftovers(), Vec::<String>::new());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The program under test, with a canary in its environment that no container may see.
pub fn runtime() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyd-runtime"));
    command.env("CANARY", "of-the-host");
    command
}

fn spec(script: &str, cgroup: &str) -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE"
    ]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh", "-c", script],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
        },
        "root": { "path": "rootfs" },
        "hostname": "box",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["ro", "nosuid", "noexec", "nodev"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        ],
        "annotations": { "dev.pyd.seccomp": "default" },
        "linux": {
            "cgroupsPath": cgroup,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "mount" }, { "type": "network" }, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" },
                { "type": "cgroup" }
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
