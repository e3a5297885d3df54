//! `linux.seccomp`.

use std::path::Path;

use super::{no_nul, wrong};
use crate::error::Result;
use crate::spec::{LinuxSeccomp, LinuxSeccompAction};

/// `MAX_ERRNO`: the kernel turns every higher number into it.
const ERRNO: u32 = 4095;

pub(super) fn check(seccomp: &LinuxSeccomp) -> Result<()> {
    let field = "linux.seccomp";
    if seccomp.default_action() == LinuxSeccompAction::ScmpActNotify {
        return Err(wrong(
            format_args!("{field}.defaultAction"),
            "SCMP_ACT_NOTIFY cannot be the default: the runtime itself would wait for the agent that it is to call",
        ));
    }
    number(
        &format!("{field}.defaultErrnoRet"),
        seccomp.default_action(),
        seccomp.default_errno_ret(),
    )?;
    let given = |path: &Path| !path.as_os_str().is_empty();
    let listener = seccomp
        .listener_path()
        .as_deref()
        .filter(|path| given(path));
    if let Some(path) = listener {
        no_nul(
            format_args!("{field}.listenerPath"),
            &path.to_string_lossy(),
        )?;
    }
    let metadata = seccomp.listener_metadata().as_deref().unwrap_or("");
    if !metadata.is_empty() && listener.is_none() {
        return Err(wrong(
            format_args!("{field}.listenerMetadata"),
            "is for an agent, and linux.seccomp.listenerPath names none",
        ));
    }
    for (index, rule) in seccomp.syscalls().iter().flatten().enumerate() {
        let field = format!("{field}.syscalls[{index}]");
        if rule.names().is_empty() {
            return Err(wrong(format_args!("{field}.names"), "names no system call"));
        }
        for (index, name) in rule.names().iter().enumerate() {
            no_nul(format_args!("{field}.names[{index}]"), name)?;
            if name.is_empty() {
                return Err(wrong(format_args!("{field}.names[{index}]"), "is empty"));
            }
        }
        number(
            &format!("{field}.errnoRet"),
            rule.action(),
            rule.errno_ret(),
        )?;
        if rule.action() == LinuxSeccompAction::ScmpActNotify {
            if rule.names().iter().any(|name| name == "sendmsg") {
                return Err(wrong(
                    format_args!("{field}.action"),
                    "SCMP_ACT_NOTIFY cannot be used for sendmsg: the runtime hands the listener over with it",
                ));
            }
            if listener.is_none() {
                return Err(wrong(
                    "linux.seccomp.listenerPath",
                    "is missing: SCMP_ACT_NOTIFY needs the socket of the agent that answers for the calls",
                ));
            }
        }
        for (index, arg) in rule.args().iter().flatten().enumerate() {
            if arg.index() > 5 {
                return Err(wrong(
                    format_args!("{field}.args[{index}].index"),
                    format_args!(
                        "{} is no argument of a system call: they are 0 to 5",
                        arg.index()
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// The spec: "When the action doesn't support an errno, the runtime MUST print an error and fail."
fn number(field: &str, action: LinuxSeccompAction, number: Option<u32>) -> Result<()> {
    use LinuxSeccompAction as Action;
    let largest = match (number, action) {
        (None, _) => return Ok(()),
        (Some(_), Action::ScmpActErrno) => ERRNO,
        (Some(_), Action::ScmpActTrace) => 0xffff,
        (Some(_), other) => return Err(wrong(field, format_args!("{other} has no error number"))),
    };
    match number {
        Some(n) if n > largest => Err(wrong(field, format_args!("{n} is above {largest}"))),
        _ => Ok(()),
    }
}
