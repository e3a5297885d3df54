//! A seccomp agent gets the listener of a container with its state, and answers for its calls.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use common::Bundle;
use serde_json::{Value, json};

/// Takes one listener and answers EDOM for each call that it reports; gives the state that came with it.
fn agent(socket: &Path) -> JoinHandle<Value> {
    let server = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (client, _) = server.accept().unwrap();
        let mut state = vec![0; 64 * 1024];
        let (n, listener) = pyd_sys::fdpass::receive(&client, &mut state).unwrap();
        serve(listener.unwrap());
        serde_json::from_slice(&state[..n]).unwrap()
    })
}

/// A listener is driven by ioctls, which this crate may not call: Python does, in a process that inherits it.
fn serve(listener: OwnedFd) {
    let script = "
import fcntl, os, struct, sys
fd = 0
while True:
    buffer = bytearray(80)
    try:
        fcntl.ioctl(fd, 0xC0502100, buffer)
    except OSError:
        break
    (ident,) = struct.unpack_from('Q', buffer)
    fcntl.ioctl(fd, 0xC0182101, struct.pack('Qqii', ident, 0, -33, 0))
    print('answered', flush=True)
    os._exit(0)
";
    let mut child = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::from(listener))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.wait().unwrap();
    assert_eq!(line, "answered\n");
}

fn notifying(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": bundle.dir.join("agent"),
        "listenerMetadata": "opaque",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
    });
    bundle
}

#[test]
fn agent_answers_for_the_container() {
    need_root!();
    for no_new_privileges in [false, true] {
        let mut bundle = notifying("mkdir /x 2>&1; true");
        bundle.spec["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let agent = agent(&bundle.dir.join("agent"));
        let said = bundle.output();
        assert!(said.contains("argument out of domain"), "{said}");
        let state = agent.join().unwrap();
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "opaque");
        assert_eq!(state["state"]["id"], *bundle.id);
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["pid"], state["pid"]);
    }
}

#[test]
fn agent_answers_for_an_exec_and_a_gated_start() {
    need_root!();
    let mut bundle = notifying("mkdir /x 2>/answer; sleep 100");
    bundle.spec["process"]["noNewPrivileges"] = json!(true);
    let socket = bundle.dir.join("agent");
    let first = agent(&socket);
    bundle.detached(&["create", "-b", bundle.dir.to_str().unwrap(), &bundle.id]);
    bundle.ok(&["start", &bundle.id]);
    let init = first.join().unwrap();
    fs::remove_file(&socket).unwrap();
    let second = agent(&socket);
    let said = bundle.ok(&["exec", &bundle.id, "sh", "-c", "mkdir /y 2>&1; true"]);
    assert!(said.contains("argument out of domain"), "{said}");
    let state = second.join().unwrap();
    assert_eq!(state["state"]["status"], "running");
    assert_eq!(state["state"]["pid"], init["pid"]);
    assert_ne!(state["pid"], init["pid"]);
}

#[test]
fn no_agent_is_one_sentence() {
    need_root!();
    let bundle = notifying("true");
    let (_, said) = bundle.error();
    assert!(
        said.contains("connect") && said.contains("agent: no such file"),
        "{said}"
    );
}
