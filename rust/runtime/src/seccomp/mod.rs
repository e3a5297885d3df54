//! Seccomp: the spec's rules, or pyd's default profile, as a BPF program.
//!
//! Everything that takes time or memory happens in the parent. The child calls [`Filter::load`] and nothing else. For
//! the usual capability sets the default profile was compiled when pyd was built (`build.rs`).

mod compiler;
pub mod notify;
mod spec;

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use oci_spec::runtime::Spec;
use pyd_sys::seccomp::{self as kernel, Instruction};

use self::compiler::profile::{DEFAULT, Host, Profile};
use self::compiler::{Arch, Policy, action};
use crate::capabilities;
use crate::error::{Error, Result};

include!(concat!(env!("OUT_DIR"), "/seccomp_default.rs"));

/// Annotation that names one of pyd's own profiles; only the engine writes annotations.
const ANNOTATION: &str = "dev.pyd.seccomp";

/// A compiled filter.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Cow<'static, [Instruction]>,
    flags: u32,
    /// Flags that nobody asked for, left out on a kernel that does not know them.
    optional_flags: u32,
    listener: Option<Listener>,
    unknown: Vec<String>,
}

/// Who answers for the calls with SCMP_ACT_NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// AF_UNIX socket that gets the listener's descriptor with the container's state.
    pub path: PathBuf,
    /// Opaque text for it.
    pub metadata: Option<String>,
}

impl Filter {
    /// `linux.seccomp` of the spec, else the profile that the annotation `dev.pyd.seccomp` names, else none.
    pub fn for_spec(spec: &Spec) -> Result<Option<Filter>> {
        let given = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        if let Some(seccomp) = given {
            return spec::filter(seccomp).map(Some);
        }
        let annotations = spec.annotations().as_ref();
        match annotations
            .and_then(|all| all.get(ANNOTATION))
            .map(String::as_str)
        {
            None => Ok(None),
            Some("default") => Self::default_for(capabilities::bounding_of(spec)).map(Some),
            Some(other) => Err(Error::new(
                "seccomp",
                format!("\"{other}\" is no seccomp profile of pyd: \"default\" is the only one"),
            )),
        }
    }

    /// The default profile for a container with this bounding set (bit n = capability n).
    pub fn default_for(bounding: u64) -> Result<Filter> {
        let kernel = kernel_version();
        if kernel >= PRECOMPILED_KERNEL {
            let key = bounding & RELEVANT_CAPABILITIES;
            if let Some((_, program)) = PRECOMPILED.iter().find(|(caps, _)| *caps == key) {
                return Ok(Self::new(Cow::Borrowed(*program), Vec::new()));
            }
        }
        Self::compile_default(bounding, kernel)
    }

    fn compile_default(bounding: u64, kernel: (u32, u32)) -> Result<Filter> {
        let invalid = |message| Error::new("seccomp", message);
        let profile = Profile::parse(DEFAULT).map_err(invalid)?;
        let host = Host {
            arch: native()?,
            kernel,
            bounding,
            capabilities: &capabilities::NAMES,
        };
        let policy = profile.resolve(&host).map_err(invalid)?;
        Self::compile(&policy)
    }

    fn compile(policy: &Policy<'_>) -> Result<Filter> {
        let program = compiler::compile(policy, native()?);
        // BPF_MAXINSNS of the kernel.
        if program.instructions.len() > 4096 {
            return Err(Error::new(
                "seccomp",
                format!(
                    "the seccomp profile needs {} BPF instructions, the kernel takes 4096",
                    program.instructions.len()
                ),
            )
            .hint("join rules with the same action, or drop conditions"));
        }
        let instructions = program.instructions.iter().map(|i| Instruction {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        });
        Ok(Self::new(
            Cow::Owned(instructions.collect()),
            program.unknown,
        ))
    }

    fn new(program: Cow<'static, [Instruction]>, unknown: Vec<String>) -> Filter {
        Filter {
            program,
            flags: 0,
            // Without it, kernels before 5.16 slow a filtered process down with mitigations that a container's own
            // processes do not need among themselves. The default of runc as well. Since 4.17.
            optional_flags: kernel::FLAG_SPEC_ALLOW,
            listener: None,
            unknown,
        }
    }

    /// Installs the filter on the calling thread. Allocates nothing and takes no lock, except to report a failure.
    ///
    /// Needs no_new_privs or CAP_SYS_ADMIN: with neither, before the change of user. Gives the listener's descriptor
    /// when a rule says SCMP_ACT_NOTIFY, which the caller sends to [`Self::listener`].
    pub fn load(&self) -> Result<Option<OwnedFd>> {
        let loaded = match kernel::load(&self.program, self.flags | self.optional_flags) {
            Err(Errno::EINVAL) if self.optional_flags != 0 => {
                kernel::load(&self.program, self.flags)
            }
            other => other,
        };
        loaded.map_err(|errno| {
            let error = Error::os("seccomp", "load the seccomp filter", errno);
            match errno {
                Errno::ENOSYS => error
                    .hint("this kernel has no seccomp; run with --security-opt seccomp=unconfined"),
                Errno::EACCES => error.hint("loading a filter needs no_new_privs or CAP_SYS_ADMIN"),
                Errno::EINVAL => {
                    error.hint("the kernel does not know one of the filter's flags or actions")
                }
                Errno::EBUSY => error.hint("another filter with a listener is already installed"),
                _ => error,
            }
        })
    }

    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// Calls of the profile that no architecture here has; they were passed over.
    pub fn unknown_calls(&self) -> &[String] {
        &self.unknown
    }

    /// The program, for tests and for comparing it with other runtimes': `struct sock_filter` each.
    pub fn instructions(&self) -> &[Instruction] {
        &self.program
    }
}

/// What the kernel can do, for `pyd doctor`: the actions of filters, by their names in a spec.
pub fn supported_actions() -> Vec<&'static str> {
    [
        ("SCMP_ACT_KILL_PROCESS", action::KILL_PROCESS),
        ("SCMP_ACT_KILL_THREAD", action::KILL_THREAD),
        ("SCMP_ACT_TRAP", action::TRAP),
        ("SCMP_ACT_ERRNO", action::ERRNO),
        ("SCMP_ACT_NOTIFY", kernel::RET_USER_NOTIF),
        ("SCMP_ACT_TRACE", action::TRACE),
        ("SCMP_ACT_LOG", action::LOG),
        ("SCMP_ACT_ALLOW", action::ALLOW),
    ]
    .into_iter()
    .filter(|(_, code)| kernel::action_available(*code))
    .map(|(name, _)| name)
    .collect()
}

/// The architectures that filters are compiled for here.
pub fn supported_architectures() -> Vec<&'static str> {
    native().map_or_else(
        |_| Vec::new(),
        |arch| arch.family().iter().map(|arch| arch.name()).collect(),
    )
}

/// Filter flags of a spec.
pub fn known_flags() -> Vec<&'static str> {
    spec::FLAGS.into_iter().map(|(name, _)| name).collect()
}

/// Those that this kernel knows.
pub fn supported_flags() -> Vec<&'static str> {
    spec::FLAGS
        .into_iter()
        .filter(|(_, flag)| kernel::flag_available(*flag))
        .map(|(name, _)| name)
        .collect()
}

fn native() -> Result<Arch> {
    Arch::from_target(std::env::consts::ARCH).ok_or_else(|| {
        Error::new(
            "seccomp",
            format!(
                "seccomp filters are not supported on {}",
                std::env::consts::ARCH
            ),
        )
        .hint("run with --security-opt seccomp=unconfined")
    })
}

/// Major and minor version; (0, 0), older than everything, if it cannot be read.
fn kernel_version() -> (u32, u32) {
    let release =
        std::fs::read_to_string(Path::new("/proc/sys/kernel/osrelease")).unwrap_or_default();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests;
