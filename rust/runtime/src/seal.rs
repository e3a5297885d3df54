//! Runs this program from where a container cannot write to it.
//!
//! A process of this program enters containers, and its executable can be named there: `#!/proc/self/exe` runs it
//! again inside, and `/proc/PID/exe` opens it. After its end it could be opened for writing, and the next container
//! start would run the attacker's code as the host's root (CVE-2019-5736). A read-only mount that is nowhere attached
//! gives the same file, with the same pages in memory, and refuses every write whatever the file's mode.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use pyd_sys::mount::{MountAttr, attr, clone_tree, set_attributes};
use pyd_sys::process::exec_file;

use crate::error::{Error, Result};
use crate::weakness;

/// How often a busy executable is tried again.
const BUSY: u32 = 100;

/// Executes the program again from a sealed place with the same arguments and environment, unless it is there.
pub fn ensure(arguments: &[OsString]) -> Result<()> {
    let failed = |op: &'static str| move |e: Errno| Error::at("seal", op, "/proc/self/exe", e);
    let own = open(
        "/proc/self/exe",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed("open"))?;
    if is_sealed(&own) || weakness::is("runtime-unsealed") {
        // Executed by descriptor, the name in `ps` would be the descriptor's number.
        let _ = prctl::set_name(c"pyd-runtime");
        return Ok(());
    }
    let sealed = match read_only_mount(&own) {
        Ok(mount) => mount,
        // Without CAP_SYS_ADMIN: a copy in memory.
        Err(_) => copy(&own).map_err(failed("copy to a sealed file of"))?,
    };
    let text = |s: OsString| {
        CString::new(s.into_vec()).map_err(|_| Error::invalid("an argument contains a NUL byte"))
    };
    let arguments = arguments
        .iter()
        .cloned()
        .map(text)
        .collect::<Result<Vec<_>>>()?;
    let environment = std::env::vars_os().map(|(name, value)| {
        text(OsString::from_vec(
            [name.as_bytes(), b"=", value.as_bytes()].concat(),
        ))
    });
    let environment = environment.collect::<Result<Vec<_>>>()?;
    // A container that has got hold of the sealed file cannot write to it, but for the moment of each refused attempt
    // the kernel counts it as being written to.
    let mut refused = Errno::ETXTBSY;
    for _ in 0..BUSY {
        refused = exec_file(&sealed, &arguments, &environment);
        if refused != Errno::ETXTBSY {
            break;
        }
        sleep(Duration::from_millis(1));
    }
    Err(failed("execveat")(refused))
}

fn is_sealed(own: &OwnedFd) -> bool {
    let read_only = fstatvfs(own).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    let sealed = fcntl(own, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE));
    read_only || sealed
}

fn read_only_mount(own: &OwnedFd) -> nix::Result<OwnedFd> {
    let mount = clone_tree(own.as_fd(), c"", false)?;
    let read_only = MountAttr {
        set: attr::RDONLY | attr::NOSUID | attr::NODEV,
        ..MountAttr::default()
    };
    set_attributes(&mount, &read_only, false)?;
    Ok(mount)
}

fn copy(own: &OwnedFd) -> nix::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"pyd-runtime", flags)?;
    let raw = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
    let mut from = File::from(own.try_clone().map_err(raw)?);
    let mut to = File::from(memory);
    std::io::copy(&mut from, &mut to).map_err(raw)?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&to, FcntlArg::F_ADD_SEALS(seals))?;
    // Execution is refused (ETXTBSY) while a descriptor that can write is open.
    let path = format!("/proc/self/fd/{}", to.as_raw_fd());
    open(
        path.as_str(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}
