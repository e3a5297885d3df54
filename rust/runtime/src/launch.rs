//! From a root in the container to the command: what `create` and `exec` have in common, in the one order in which
//! it works.
//!
//! Each step needs a power that a later one gives away: limits and scheduling need CAP_SYS_NICE, a seccomp filter
//! without no_new_privs needs CAP_SYS_ADMIN, dropping the bounding set needs CAP_SETPCAP, the ids CAP_SETUID.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::personality::{self, Persona};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, getcwd};
use pyd_sys::process;

use crate::capabilities::CapSets;
use crate::command;
use crate::error::{Error, Result};
use crate::memory_policy::MemoryPolicy;
use crate::seccomp::{Filter, Listener};
use crate::spec::{
    IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
};
use crate::spec::{Process, Scheduler, Spec};
use crate::sync::Channel;
use crate::{rlimits, user, weakness};

/// A process that is about to be: everything that can be decided in the parent has been.
#[derive(Debug)]
pub struct Launch<'a> {
    process: &'a Process,
    capabilities: CapSets,
    filter: Option<Filter>,
    personality: Option<Persona>,
    memory_policy: Option<MemoryPolicy>,
    /// `NAME=value` strings; HOME is added in the container when it is missing.
    environment: Vec<CString>,
    has_home: bool,
    /// SIGKILL when the parent dies.
    die_with_parent: bool,
    /// Descriptors from 3 on that the command inherits.
    preserve_fds: u32,
}

impl<'a> Launch<'a> {
    /// Checks and converts what the spec says about the process.
    pub fn prepare(
        spec: &Spec,
        process: &'a Process,
        die_with_parent: bool,
        preserve_fds: u32,
    ) -> Result<Self> {
        let text = |s: &String| {
            CString::new(s.as_str()).map_err(|_| Error::invalid("process.env contains a NUL byte"))
        };
        let environment = last_of_each(process.env().as_deref().unwrap_or_default())
            .into_iter()
            .map(text)
            .collect::<Result<Vec<_>>>()?;
        if !weakness::is("descriptors-stay") {
            // For hooks as well.
            process::close_on_exec_from(3 + preserve_fds)
                .map_err(|e| Error::os("process", "close_range", e))?;
        }
        let has_home = environment
            .iter()
            .any(|entry| entry.as_bytes().starts_with(b"HOME="));
        Ok(Self {
            process,
            capabilities: CapSets::from_spec(process.capabilities().as_ref())?,
            filter: Filter::for_spec(spec)?,
            personality: persona(spec)?,
            memory_policy: memory_policy(spec)?,
            environment,
            has_home,
            die_with_parent,
            preserve_fds,
        })
    }

    /// Child: closes every descriptor but stdio, those that the command inherits, and `keep`. Before a path of the
    /// container is walked: `/proc/self/fd/N` is no way to the host (CVE-2024-21626).
    pub fn forget(&self, keep: Vec<RawFd>) -> nix::Result<()> {
        match weakness::is("descriptors-stay") {
            true => Ok(()),
            false => process::close_all_but(3 + self.preserve_fds, &keep),
        }
    }

    /// Who gets the listener of the filter, if it has one.
    #[must_use]
    pub fn listener(&self) -> Option<&Listener> {
        self.filter.as_ref().and_then(Filter::listener)
    }

    /// Gives up everything that the process shall not have. Afterwards only [`Launch::run`] is left, and of the
    /// descriptors above stderr only those of the caller that the command inherits, the channel and `gate`.
    pub fn restrict(&self, channel: &Channel, gate: Option<&OwnedFd>) -> Result<String> {
        let process = self.process;
        let os = |op: &'static str| move |e: Errno| Error::os("process", op, e);
        // Not visible to an exec that comes before the start (CVE-2016-9962). Only now: the parent of a user namespace
        // without privileges could not have written its maps.
        prctl::set_dumpable(weakness::is("stays-dumpable"))
            .map_err(os("prctl(PR_SET_DUMPABLE)"))?;
        rlimits::apply(process.rlimits().as_deref().unwrap_or(&[]), &mut |text| {
            channel.warn(text)
        })?;
        if let Some(priority) = process.io_priority() {
            let class = match priority.class() {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            };
            process::set_io_priority(class, priority.priority() as i32)
                .map_err(os("ioprio_set"))?;
        }
        if let Some(scheduler) = process.scheduler() {
            process::set_scheduler(schedule(scheduler)).map_err(os("sched_setattr"))?;
        }
        if let Some(persona) = self.personality {
            personality::set(persona).map_err(os("personality"))?;
        }
        if let Some(policy) = &self.memory_policy {
            policy.apply()?;
        }
        self.confine()?;
        // All that can be done before the filter is loaded: the profile then need not allow it.
        let keep = gate.map(AsRawFd::as_raw_fd).into_iter();
        self.forget(keep.chain([channel.as_raw_fd()]).collect())
            .map_err(os("close_range"))?;
        // Before the change of user: afterwards a directory may be closed to it that root of the container made.
        let early = chdir(process.cwd()).is_ok();
        if early {
            stay_inside()?;
        }
        user::own_stdio(process.user().uid());
        self.capabilities.drop_bounding()?;
        prctl::set_keepcaps(true).map_err(os("prctl(PR_SET_KEEPCAPS)"))?;
        let late = process.no_new_privileges() == Some(true);
        if late {
            prctl::set_no_new_privs().map_err(os("prctl(PR_SET_NO_NEW_PRIVS)"))?;
        } else {
            self.filter(channel)?;
        }
        user::become_user(process.user())?;
        self.capabilities.apply()?;
        prctl::set_keepcaps(false).map_err(os("prctl(PR_SET_KEEPCAPS)"))?;
        if !early {
            chdir(process.cwd()).map_err(|e| Error::at("process", "chdir", process.cwd(), e))?;
            stay_inside()?;
        }
        // The change of credentials has cleared it (prctl(2)).
        self.follow_parent()?;
        let program = command::find(process)?;
        if late && self.listener().is_some() {
            // While there is somebody at the other end who can hand the listener over.
            self.filter(channel)?;
        }
        Ok(program)
    }

    /// Asks for SIGKILL when the creating thread dies, if that is wanted. To be asked at the beginning, so that a
    /// half-made container dies as well, and again after every change of credentials.
    pub fn follow_parent(&self) -> Result<()> {
        if self.die_with_parent {
            prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(|e| Error::os("process", "prctl(PR_SET_PDEATHSIG)", e))?;
        }
        Ok(())
    }

    /// Executes the command that `restrict` found. Returns only with an error.
    pub fn run(&self, program: &str) -> Error {
        match self.execute(program) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn execute(&self, program: &str) -> Result<std::convert::Infallible> {
        let mut environment = self.environment.clone();
        if !self.has_home {
            let home = user::home(self.process.user().uid());
            environment.extend(CString::new(format!("HOME={home}")));
        }
        let args = self.process.args().iter().flatten();
        let args: Vec<CString> = args
            .filter_map(|arg| CString::new(arg.as_str()).ok())
            .collect();
        let path = CString::new(program)
            .map_err(|_| Error::invalid("process.args contains a NUL byte"))?;
        if self.process.no_new_privileges() == Some(true)
            && let Some(filter) = self.filter.as_ref().filter(|f| f.listener().is_none())
        {
            // As late as possible: the filter then need not allow what has come before.
            filter.load()?;
        }
        let Err(errno) = nix::unistd::execve(&path, &args, &environment);
        Err(command::refused(program, errno))
    }

    fn filter(&self, channel: &Channel) -> Result<()> {
        match self
            .filter
            .as_ref()
            .map(Filter::load)
            .transpose()?
            .flatten()
        {
            Some(listener) => channel.listener(&listener),
            None => Ok(()),
        }
    }

    /// Tells the security modules what the command shall run as.
    fn confine(&self) -> Result<()> {
        let label = |value: &'a Option<String>| value.as_deref().filter(|text| !text.is_empty());
        let profile = label(self.process.apparmor_profile());
        let context = label(self.process.selinux_label());
        if profile.is_none() && context.is_none() {
            return Ok(());
        }
        let procfs = crate::procfs::Procfs::private()
            .map_err(|e| Error::os("process", "mount procfs", e))?;
        let pid = std::process::id();
        if let Some(profile) = profile {
            procfs
                .write(&format!("{pid}/attr/apparmor/exec"), &format!("exec {profile}"))
                .or_else(|_| procfs.write(&format!("{pid}/attr/exec"), &format!("exec {profile}")))
                .map_err(|e| {
                    Error::os("process", "apply AppArmor profile", e)
                        .context(profile)
                        .hint("the profile is not loaded, or this kernel has no AppArmor: leave apparmorProfile out")
                })?;
        }
        if let Some(context) = context {
            procfs.write(&format!("{pid}/attr/exec"), context).map_err(|e| {
                Error::os("process", "apply SELinux label", e)
                    .context(context)
                    .hint("this kernel has no SELinux, or the label is unknown: leave selinuxLabel out")
            })?;
        }
        Ok(())
    }
}

fn memory_policy(spec: &Spec) -> Result<Option<MemoryPolicy>> {
    let linux = spec.linux().as_ref();
    let policy = linux.and_then(|linux| linux.memory_policy().as_ref());
    policy.map(MemoryPolicy::parse).transpose()
}

/// A working directory that is not below the root would be a descriptor of the host (CVE-2024-21626).
fn stay_inside() -> Result<()> {
    match getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ if weakness::is("descriptors-stay") => Ok(()),
        _ => Err(Error::new(
            "process",
            "the working directory lies outside the container",
        )),
    }
}

/// A name that is there twice has its last value, as with runc; getenv(3) of the command would find the first.
fn last_of_each(env: &[String]) -> Vec<&String> {
    let name = |entry: &str| entry.split_once('=').map(|(name, _)| name.to_owned());
    let mut seen = HashSet::new();
    let later = env.iter().rev().filter(|entry| match name(entry) {
        Some(name) => seen.insert(name),
        None => true,
    });
    let mut kept: Vec<_> = later.collect();
    kept.reverse();
    kept
}

fn persona(spec: &Spec) -> Result<Option<Persona>> {
    let Some(personality) = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.personality().as_ref())
    else {
        return Ok(None);
    };
    if personality
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(Error::invalid(
            "linux.personality.flags: the spec defines none yet",
        ));
    }
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => Persona::empty(),
        LinuxPersonalityDomain::PerLinux32 => Persona::from_bits_retain(8),
    }))
}

fn schedule(scheduler: &Scheduler) -> process::SchedAttr {
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let bit = |flag: &LinuxSchedulerFlag| match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    };
    process::SchedAttr {
        size: 0,
        policy,
        flags: scheduler
            .flags()
            .iter()
            .flatten()
            .fold(0, |all, flag| all | bit(flag)),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}
