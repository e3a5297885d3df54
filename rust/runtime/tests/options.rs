//! Options of `create` and `run` that change how a container is made, and what a wrong one is told.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::Bundle;
use serde_json::{Value, json};

fn run_with(bundle: &Bundle, option: &str) -> Output {
    bundle.write();
    let dir = bundle.dir.to_str().unwrap();
    match option {
        "" => bundle.command(&["run", "-b", dir, &bundle.id]),
        option => bundle.command(&["run", option, "-b", dir, &bundle.id]),
    }
}

/// A hook of the host that runs `script` with `sh`.
fn hook(script: &str) -> Value {
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
}

#[test]
fn root_without_pivot() {
    need_root!();
    let bundle = Bundle::new(
        "ls /; grep -c ' - proc ' /proc/self/mountinfo; touch /proc/sys/x 2>/dev/null || echo ro; \
         ls ../../../..; cd /; readlink /proc/self/cwd",
    );
    let output = run_with(&bundle, "--no-pivot");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("\nro\n"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn session_keyring_is_new_unless_asked_otherwise() {
    need_root!();
    // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)
    let program = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, -3, 0))";
    let own = Command::new("python3")
        .args(["-c", program])
        .output()
        .unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    for (option, same) in [("", false), ("--no-new-keyring", true)] {
        let mut bundle = Bundle::new("true");
        let seen = bundle.dir.join("keyring");
        let script = format!("python3 -c '{program}' > {}", seen.display());
        bundle.spec["hooks"] = json!({ "createContainer": hook(&script) });
        let output = run_with(&bundle, option);
        assert!(output.status.success(), "{output:?}");
        let found = fs::read_to_string(seen).unwrap();
        assert_eq!(
            found == own,
            same,
            "{option}: {found} in a container of {own}"
        );
    }
}

#[test]
fn hooks_get_no_blocked_signals() {
    need_root!();
    let mut bundle = Bundle::new("true");
    let seen = bundle.dir.join("mask");
    let script = format!("grep SigBlk /proc/self/status > {}", seen.display());
    bundle.spec["hooks"] = json!({ "createRuntime": hook(&script) });
    bundle.output();
    assert_eq!(
        fs::read_to_string(seen).unwrap(),
        "SigBlk:\t0000000000000000\n"
    );
}

#[test]
fn working_directory_that_cannot_be_made() {
    need_root!();
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["cwd"] = json!("/etc/passwd/x");
    let (code, said) = bundle.error();
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("mkdir /etc/passwd/x: not a directory"),
        "{said}"
    );
}

#[test]
fn what_is_not_done_is_named() {
    need_root!();
    let mut bundle = Bundle::new("true");
    bundle.spec["process"]["commandLine"] = json!("x");
    let (code, said) = bundle.error();
    assert!(code == 1 && said.contains("process.commandLine"), "{said}");
    bundle.spec["process"]["commandLine"] = Value::Null;
    bundle.spec["process"]["user"]["uid"] = json!(1_u64 << 32);
    let (_, said) = bundle.error();
    assert!(said.contains("process.user.uid: "), "{said}");
}
