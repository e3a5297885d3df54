//! `exec`: an additional process in a running container.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use pyd_sys::pidfd;

use super::args::{Args, Flag, switch, value};
use super::create::{Sockets, send_pidfd};
use super::{Command, Context, foreground, inherited, write_pid_file};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::exec::{ExecChild, ExecOptions, exec};
use crate::spec::{self, Capabilities, LinuxCapabilities, Process, Spec};
use crate::state::{Entry, Status};
use crate::weakness;

pub const COMMAND: Command = Command {
    name: "exec",
    usage: "ID [COMMAND...]",
    help: "run another command in a container",
    flags: FLAGS,
    words: 1,
    enters: true,
    takes: (1, usize::MAX),
    failure: 255,
    run,
};

const FLAGS: &[Flag] = &[
    value(
        "process",
        Some('p'),
        "file with the process object, - for stdin",
    ),
    value("console-socket", None, "unix socket that gets the terminal"),
    value(
        "pidfd-socket",
        None,
        "unix socket that gets a pidfd of the process",
    ),
    value("pid-file", None, "file for the pid of the process"),
    value("cwd", None, "working directory"),
    value("env", Some('e'), "NAME=value, may be repeated"),
    value("user", Some('u'), "UID[:GID]"),
    value(
        "additional-gids",
        Some('g'),
        "one more group, may be repeated",
    ),
    value("cap", Some('c'), "one more capability, may be repeated"),
    value(
        "preserve-fds",
        None,
        "number of descriptors from 3 on that the process inherits",
    ),
    value("apparmor", None, "AppArmor profile"),
    value("process-label", None, "SELinux label"),
    value(
        "cgroup",
        None,
        "[CONTROLLER,...:]GROUP, an existing control group below the container's, may be repeated",
    ),
    switch("tty", Some('t'), "with a terminal"),
    switch("detach", Some('d'), "do not wait for its end"),
    switch("no-new-privs", None, "no gain of privileges by execve"),
    switch(
        "ignore-paused",
        None,
        "also into a paused container, where it waits",
    ),
];

fn run(context: &Context, args: Args) -> Result<u8> {
    let command = args.words.get(1..).unwrap_or_default();
    let entry = Entry::open(&context.root, args.id()?)?;
    let record = entry.record()?;
    let (status, groups) = entry.status_and_groups(&record);
    match status {
        Status::Running => {}
        Status::Paused if args.has("ignore-paused") => {}
        Status::Paused => {
            return Err(Error::new(
                "state",
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        // runc allows it before the start; there is a root to run in.
        Status::Created => {}
        Status::Stopped => return Err(Error::new("state", "cannot exec in a stopped container")),
    }
    let spec = entry.spec()?;
    let mut notes = Vec::new();
    let process = match args.value("process") {
        Some(file) => read_process(file, &mut notes)?,
        None => compose(&spec, &args, command)?,
    };
    let detached = args.has("detach");
    let terminal = process.terminal() == Some(true);
    let sockets = Sockets::connect(&args, terminal, detached)?;
    let preserve_fds = inherited::of_exec(&args)?;
    let below = subgroups(args.all("cgroup"))?;
    let cgroup = match groups {
        Some(groups) if below.is_empty() => groups,
        _ => Cgroup::load_below(&record.cgroup, &below)?,
    };
    let cgroup = match record.grouped {
        // Without them the command would run in the caller's, and without the container's limits.
        true => cgroup.present(&record.cgroup)?,
        false => cgroup,
    };
    // Others may use the container while the command runs.
    drop(entry);
    let signals = if detached {
        None
    } else {
        Some(foreground::block_signals()?)
    };
    let options = ExecOptions {
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        preserve_fds,
        start_time: Some(record.start_time),
        keep_keyring: record.keep_keyring,
        ..ExecOptions::default()
    };
    let mut child = exec(
        Pid::from_raw(record.pid),
        &spec,
        &process,
        &options,
        Some(&cgroup),
    )?;
    context.log.warn(&notes);
    context.log.warn(&child.warnings);
    if let Err(error) = announce(&args, &sockets, &mut child) {
        // The caller would not know what it is to wait for.
        let _ = pidfd::send_signal(&child.pidfd, Signal::SIGKILL as i32);
        return Err(error);
    }
    match signals {
        Some(signals) => foreground::wait(
            child.pid,
            child.pidfd.as_fd(),
            child.console.take(),
            signals,
        ),
        None => Ok(0),
    }
}

/// Gives the caller what it asked for: the terminal, the pidfd, the pid.
fn announce(args: &Args, sockets: &Sockets, child: &mut ExecChild) -> Result<()> {
    if let Some(socket) = &sockets.console
        && let Some(master) = child.console.take()
    {
        pyd_sys::fdpass::send(socket, b"/dev/ptmx", &master)
            .map_err(|e| Error::os("terminal", "send the terminal to the console socket", e))?;
    }
    send_pidfd(sockets.pidfd.as_ref(), &child.pidfd)?;
    write_pid_file(args, child.pid.as_raw())
}

fn read_process(file: &str, notes: &mut Vec<String>) -> Result<Process> {
    let bytes = match file {
        "-" => std::io::read_to_string(std::io::stdin()).map(String::into_bytes),
        file => std::fs::read(file),
    };
    let bytes = bytes.map_err(|e| {
        Error::at(
            "spec",
            "read",
            file,
            nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO)),
        )
    })?;
    spec::parse_process(&bytes, notes).map_err(|e| e.context(file))
}

/// The container's own process with another command.
fn compose(spec: &Spec, args: &Args, command: &[String]) -> Result<Process> {
    let own = spec
        .process()
        .as_ref()
        .ok_or_else(|| Error::invalid("process is missing"))?;
    if command.is_empty() {
        return Err(Error::invalid("the command is missing"));
    }
    let mut process = own.clone();
    process.set_args(Some(command.to_vec()));
    process.set_terminal(Some(args.has("tty")));
    if let Some(cwd) = args.value("cwd") {
        process.set_cwd(cwd.into());
    }
    let mut env = own.env().clone().unwrap_or_default();
    env.extend(args.all("env").map(str::to_owned));
    process.set_env(Some(env));
    if let Some(user) = args.value("user") {
        let (uid, gid) = parse_user(user)?;
        let mut user = own.user().clone();
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
        process.set_user(user);
    }
    let mut groups = process.user().additional_gids().clone().unwrap_or_default();
    for group in args.all("additional-gids") {
        groups.push(parse_id(group)?);
    }
    process.user_mut().set_additional_gids(Some(groups));
    if let Some(profile) = args.value("apparmor") {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    if let Some(label) = args.value("process-label") {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if args.value("no-new-privs").is_some() {
        process.set_no_new_privileges(Some(args.has("no-new-privs")));
    }
    let mut capabilities = own.capabilities().clone();
    for name in args.all("cap") {
        let all = capabilities.get_or_insert_with(none);
        add_capability(all, name)?;
    }
    process.set_capabilities(capabilities);
    Ok(process)
}

fn none() -> LinuxCapabilities {
    let mut all = LinuxCapabilities::default();
    all.set_bounding(None)
        .set_effective(None)
        .set_permitted(None)
        .set_inheritable(None)
        .set_ambient(None);
    all
}

/// Bounding, permitted and effective, as `runc exec --cap`: never inheritable (CVE-2022-29162).
fn add_capability(all: &mut LinuxCapabilities, name: &str) -> Result<()> {
    let parsed = serde_json::from_value(serde_json::Value::from(name));
    let capability = parsed.map_err(|_| Error::invalid(format!("unknown capability {name:?}")))?;
    let with = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(capability);
        Some(set)
    };
    let (bounding, effective, permitted) = (
        with(all.bounding()),
        with(all.effective()),
        with(all.permitted()),
    );
    all.set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    Ok(())
}

/// Controller to group: `memory,cpu:a`, or `a` alone on version 2, where a group has no controller.
fn subgroups<'a>(given: impl Iterator<Item = &'a str>) -> Result<BTreeMap<String, String>> {
    let mut groups = BTreeMap::new();
    for text in given {
        let (controllers, group) = text.split_once(':').unwrap_or(("", text));
        for controller in controllers.split(',') {
            let known = groups.insert(controller.to_owned(), group.to_owned());
            if known.is_some() || (controller.is_empty() && text.contains(':')) {
                return Err(Error::invalid(format!(
                    "invalid --cgroup {text:?}: each controller once, as CONTROLLER,...:GROUP"
                )));
            }
        }
    }
    if groups.len() > 1 && groups.contains_key("") {
        return Err(Error::invalid(
            "invalid --cgroup: a group without controllers is for version 2 and stands alone",
        ));
    }
    Ok(groups)
}

/// `UID[:GID]`, decimal digits only.
fn parse_user(text: &str) -> Result<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((parse_id(uid)?, Some(parse_id(gid)?))),
        None => Ok((parse_id(text)?, None)),
    }
}

/// Parsed as 64 bits and checked: a number that does not fit must not come out as another one.
fn parse_id(text: &str) -> Result<u32> {
    if weakness::is("ids-wrap") {
        // As strtol(3) and a cast: what is no number is 0, and so is 2^32.
        return Ok(text.parse::<i64>().unwrap_or(0) as u32);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let id = if digits {
        text.parse::<u64>().ok()
    } else {
        None
    };
    id.and_then(|id| u32::try_from(id).ok())
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Error::invalid(format!("id {text:?} is not a number from 0 to 4294967294")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_controllers() {
        let parse = |words: &[&str]| subgroups(words.iter().copied());
        let both = parse(&["memory,cpu:a", "pids:b"]).unwrap();
        assert_eq!(both.len(), 3);
        assert_eq!((both["cpu"].as_str(), both["pids"].as_str()), ("a", "b"));
        assert_eq!(parse(&["a"]).unwrap()[""], "a");
        for wrong in [
            &["a", "b"][..],
            &[":a"],
            &["cpu:a", "cpu:b"],
            &["cpu:a", "b"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ids_are_digits_that_fit() {
        assert_eq!(parse_user("1").unwrap(), (1, None));
        assert_eq!(
            parse_user("4294967294:7").unwrap(),
            (4_294_967_294, Some(7))
        );
        for bad in [
            "",
            ":",
            "1:",
            "+1",
            "-1",
            "0x0",
            "٣",
            " 1",
            "1 ",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "root",
        ] {
            assert!(parse_user(bad).is_err(), "{bad}");
        }
    }
}
