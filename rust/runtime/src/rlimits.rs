//! Resource limits of the process (`setrlimit(2)`).

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Error, Result};
use crate::spec::{PosixRlimit, PosixRlimitType};

/// Sets the limits. A hard limit above the current one needs CAP_SYS_RESOURCE; without it the current one is kept
/// and named in a warning, once for all limits.
pub fn apply(limits: &[PosixRlimit], warn: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    let mut clamped = Vec::new();
    for limit in limits {
        let kind = resource(limit.typ());
        if limit.soft() > limit.hard() {
            return Err(Error::invalid(format!(
                "{}: the soft limit {} is above the hard limit {}",
                limit.typ(),
                limit.soft(),
                limit.hard()
            )));
        }
        match setrlimit(kind, limit.soft(), limit.hard()) {
            Ok(()) => {}
            Err(Errno::EPERM) => {
                let (_, highest) =
                    getrlimit(kind).map_err(|e| Error::os("limits", "getrlimit", e))?;
                let hard = limit.hard().min(highest);
                setrlimit(kind, limit.soft().min(hard), hard)
                    .map_err(|e| Error::os("limits", "setrlimit", e))?;
                clamped.push(format!("{} to {hard}", limit.typ()));
            }
            Err(e) => return Err(Error::os("limits", "setrlimit", e).context(limit.typ())),
        }
    }
    match clamped.is_empty() {
        true => Ok(()),
        false => warn(&format!(
            "without CAP_SYS_RESOURCE, limits are cut to the host's: {}",
            clamped.join(", ")
        )),
    }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => Resource::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => Resource::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => Resource::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => Resource::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => Resource::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => Resource::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => Resource::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => Resource::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => Resource::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => Resource::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => Resource::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => Resource::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => Resource::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => Resource::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => Resource::RLIMIT_RTTIME,
    }
}
