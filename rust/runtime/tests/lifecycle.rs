//! The life of a container through the command line.

mod common;

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use common::Bundle;
use serde_json::{Value, json};

fn state(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.ok(&["state", &bundle.id])).unwrap()
}

/// Waits for what another process is about to do.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

#[test]
fn create_start_kill_delete() {
    need_root!();
    let bundle = Bundle::new("echo ran > /tmp/ran; exec sleep 100");
    bundle.write();
    let pid_file = bundle.dir.join("pid");
    let dir = bundle.dir.to_str().unwrap();
    bundle.detached(&[
        "create",
        "-b",
        dir,
        "--pid-file",
        pid_file.to_str().unwrap(),
        &bundle.id,
    ]);
    assert_eq!(state(&bundle)["status"], "created");
    assert_eq!(
        state(&bundle)["pid"].to_string(),
        fs::read_to_string(&pid_file).unwrap()
    );
    assert!(
        !bundle.root().join("tmp/ran").exists(),
        "nothing runs before the start"
    );
    let again = bundle.command(&["create", "-b", dir, &bundle.id]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("already exists"));
    bundle.ok(&["start", &bundle.id]);
    eventually("running", || bundle.root().join("tmp/ran").exists());
    assert_eq!(state(&bundle)["status"], "running");
    assert!(!bundle.command(&["start", &bundle.id]).status.success());
    assert!(
        !bundle.command(&["delete", &bundle.id]).status.success(),
        "a running one is not deleted"
    );
    let pids: Vec<i32> =
        serde_json::from_str(&bundle.ok(&["ps", "-f", "json", &bundle.id])).unwrap();
    assert_eq!(pids.len(), 1);
    assert!(bundle.ok(&["ps", &bundle.id]).contains("sleep 100"));
    bundle.ok(&["kill", &bundle.id, "KILL"]);
    eventually("stopped", || state(&bundle)["status"] == "stopped");
    bundle.ok(&["delete", &bundle.id]);
    assert!(!bundle.command(&["state", &bundle.id]).status.success());
}

#[test]
fn pause_and_resume_and_kill_of_a_paused_one() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    bundle.run_detached();
    bundle.ok(&["pause", &bundle.id]);
    assert_eq!(state(&bundle)["status"], "paused");
    bundle.ok(&["resume", &bundle.id]);
    assert_eq!(state(&bundle)["status"], "running");
    bundle.ok(&["pause", &bundle.id]);
    bundle.ok(&["kill", &bundle.id, "9"]);
    eventually("stopped", || state(&bundle)["status"] == "stopped");
}

#[test]
fn exit_statuses() {
    need_root!();
    for (args, status, text) in [
        (vec!["sh", "-c", "exit 7"], 7, ""),
        (
            vec!["nosuch"],
            1,
            "exec: \"nosuch\": executable file not found in $PATH",
        ),
        (
            vec!["/nosuch"],
            1,
            "exec: \"/nosuch\": stat /nosuch: no such file or directory",
        ),
        (
            vec!["/etc/passwd"],
            1,
            "exec: \"/etc/passwd\": permission denied",
        ),
        (
            vec!["/etc"],
            1,
            "exec: \"/etc\": is a directory: permission denied",
        ),
        (
            vec!["/tmp/script"],
            1,
            "exec /tmp/script: exec format error",
        ),
        (
            vec!["/tmp/lost"],
            1,
            "exec /tmp/lost: no such file or directory",
        ),
    ] {
        let bundle = Bundle::new("").args(&args);
        for (name, content) in [("script", "echo no line"), ("lost", "#!/no/interpreter\n")] {
            let path = bundle.root().join("tmp").join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        let (code, error) = bundle.error();
        assert_eq!(code, status, "{args:?}: {error}");
        assert!(error.contains(text), "{args:?}: {error}");
        assert!(
            error.trim_end().lines().count() <= 1,
            "one sentence: {error}"
        );
    }
}

#[test]
fn failures_reach_the_log_file() {
    need_root!();
    let bundle = Bundle::new("").args(&["nosuch"]);
    bundle.write();
    let log = bundle.dir.join("log");
    let dir = bundle.dir.to_str().unwrap();
    bundle.command(&[
        "--log",
        log.to_str().unwrap(),
        "--log-format",
        "json",
        "create",
        "-b",
        dir,
        &bundle.id,
    ]);
    let line: Value = serde_json::from_str(fs::read_to_string(log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"]
            .as_str()
            .unwrap()
            .contains("executable file not found")
    );
}

#[test]
fn exec_is_where_init_is() {
    need_root!();
    let bundle = Bundle::new("exec sleep 100");
    bundle.run_detached();
    let facts = "for n in mnt net uts pid ipc cgroup; do readlink /proc/$1/ns/$n; done; cat /proc/$1/cgroup; \
                 grep -E 'Cap|NoNew|Seccomp|Uid|Groups' /proc/$1/status";
    let of = |pid: &str| bundle.ok(&["exec", &bundle.id, "sh", "-c", facts, "sh", pid]);
    assert_eq!(of("1"), of("self"));
    let environment = bundle.ok(&[
        "exec", "-e", "A=1", "--cwd", "/tmp", &bundle.id, "sh", "-c", "env; pwd",
    ]);
    assert!(
        environment.contains("A=1\n")
            && environment.contains("/tmp\n")
            && environment.contains("HOME=/root\n")
    );
    assert!(!environment.contains("CANARY"));
    let user = bundle.ok(&[
        "exec",
        "-u",
        "1000:7",
        "-g",
        "9",
        &bundle.id,
        "sh",
        "-c",
        "id -u; id -g; id -G; env",
    ]);
    assert!(user.starts_with("1000\n7\n7 9\n"), "{user}");
    assert!(user.contains("HOME=/home/u"));
    for (args, status) in [
        (vec!["exec", &bundle.id, "nosuch"], 255),
        (vec!["exec", &bundle.id, "/etc/passwd"], 255),
        (vec!["exec", &bundle.id, "sh", "-c", "exit 3"], 3),
        (vec!["exec", "-u", "4294967296", &bundle.id, "id"], 255),
        (vec!["exec", "-u", "-1", &bundle.id, "id"], 255),
        (vec!["exec", "--cwd", "/nosuch", &bundle.id, "id"], 255),
    ] {
        assert_eq!(
            bundle.command(&args).status.code(),
            Some(status),
            "{args:?}"
        );
    }
    let descriptors = bundle.ok(&["exec", &bundle.id, "ls", "-l", "/proc/self/fd"]);
    assert_eq!(
        descriptors.matches(" -> ").count(),
        3 + usize::from(descriptors.contains("/proc/")),
        "{descriptors}"
    );
}

#[test]
fn hooks_run_with_their_environment_only() {
    need_root!();
    let mut bundle = Bundle::new("true");
    let out = bundle.dir.join("hooks");
    let hook = |name: &str| {
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("cat >/dev/null; echo {name} $A $CANARY >> {}", out.display())],
                 "env": ["A=1"] }])
    };
    let mut hooks = json!({});
    for name in ["prestart", "createRuntime", "poststart", "poststop"] {
        hooks[name] = hook(name);
    }
    bundle.spec["hooks"] = hooks;
    bundle.output();
    assert_eq!(
        fs::read_to_string(&out).unwrap(),
        "prestart 1\ncreateRuntime 1\npoststart 1\npoststop 1\n"
    );
    let fails = json!({ "path": "/bin/sh", "args": ["sh", "-c", "echo reason >&2; exit 5"] });
    // After the start nothing can be undone: the failure is a warning and the others run.
    fs::remove_file(&out).unwrap();
    bundle.spec["hooks"] = json!({
        "poststart": [fails, hook("poststart")[0]], "poststop": [fails, hook("poststop")[0]],
    });
    let done = bundle.run();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && error.matches("reason").count() == 2,
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(&out).unwrap(),
        "poststart 1\npoststop 1\n"
    );
    bundle.spec["hooks"] = json!({ "createRuntime": [fails] });
    let (code, error) = bundle.error();
    assert!(code == 1 && error.contains("reason"), "{error}");
    bundle.spec["hooks"] = json!({ "createContainer": [{ "path": "/bin/sleep", "args": ["sleep", "9"], "timeout": 1 }] });
    assert!(bundle.error().1.contains("timeout"));
}

#[test]
fn capabilities_that_are_too_new_are_left_out_with_one_warning() {
    need_root!();
    let mut bundle = Bundle::new("grep CapBnd /proc/self/status");
    let known = bundle.output();
    for set in ["bounding", "permitted", "effective"] {
        let names = &mut bundle.spec["process"]["capabilities"][set];
        names.as_array_mut().unwrap().push(json!("CAP_FUTURE"));
    }
    let done = bundle.run();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{error}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), known);
    assert!(
        error.matches("CAP_FUTURE").count() == 1 && error.contains("warning"),
        "{error}"
    );
}

#[test]
fn limits_that_the_host_cannot_give_are_cut_with_one_warning() {
    need_root!();
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    let mut bundle = Bundle::new("ulimit -Hn");
    bundle.spec["process"]["rlimits"] =
        json!([{ "type": "RLIMIT_NOFILE", "hard": hard + 1, "soft": hard + 1 }]);
    let output = bundle.run();
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{error}");
    let got: u64 = text.trim().parse().unwrap();
    assert!(
        got == hard + 1 || (got == hard && error.matches("warning").count() == 1),
        "{text} {error}"
    );
}

#[test]
fn terminal_in_the_container() {
    need_root!();
    let mut bundle = Bundle::new("tty; test -c /dev/console && stty size");
    bundle.spec["process"]["terminal"] = json!(true);
    bundle.spec["process"]["consoleSize"] = json!({ "height": 33, "width": 99 });
    let text = bundle.output();
    assert!(
        text.contains("/dev/pts/0") && text.contains("33 99"),
        "{text}"
    );
    bundle.write();
    let refused = bundle.command(&["create", "-b", bundle.dir.to_str().unwrap(), &bundle.id]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("console socket"));
}

#[test]
fn an_exec_is_hidden_until_it_is_confined() {
    need_root!();
    // CVE-2016-9962, CVE-2019-5736: what a process of the container can learn of one that is just entering it.
    let script = "while true; do for p in /proc/[0-9]*; do readlink $p/exe; ls -l $p/fd; done; done > /tmp/seen 2>/dev/null";
    let bundle = Bundle::new(script);
    bundle.run_detached();
    for _ in 0..60 {
        bundle.ok(&["exec", &bundle.id, "true"]);
    }
    let seen = fs::read_to_string(bundle.root().join("tmp/seen")).unwrap();
    let links: Vec<&str> = seen
        .lines()
        .filter_map(|line| line.split(" -> ").last())
        .collect();
    assert!(links.contains(&"/bin/busybox"), "the loop saw itself");
    for link in links {
        let foreign = link.ends_with("/pyd-runtime")
            || link == "/"
            || link.contains("cgroup")
            || link.contains("/state/");
        assert!(!foreign, "{link}");
    }
}

#[test]
fn preserved_descriptors_only() {
    need_root!();
    let bundle = Bundle::new("ls -l /proc/self/fd; cat <&3");
    bundle.write();
    let given = bundle.dir.join("given");
    fs::write(&given, "through 3\n").unwrap();
    let script = format!("exec 3<{} 4</etc/hostname; exec \"$@\"", given.display());
    let state = bundle.dir.join("state");
    let dir = bundle.dir.to_str().unwrap();
    let run = |preserve: &str| {
        let program = env!("CARGO_BIN_EXE_pyd-runtime");
        let root = state.to_str().unwrap();
        let args = [
            "-c",
            &script,
            "sh",
            program,
            "--root",
            root,
            "run",
            "--preserve-fds",
            preserve,
            "-b",
            dir,
            &bundle.id,
        ];
        std::process::Command::new("/bin/sh")
            .args(args)
            .output()
            .unwrap()
    };
    let output = run("1");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("through 3") && !text.contains("hostname"),
        "{text}"
    );
    assert!(!run("0").status.success(), "3 is not there");
}
