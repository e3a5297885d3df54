//! Capability sets of the calling thread (capabilities(7)), as bit masks: bit n is capability number n.

use nix::Result;
use nix::errno::Errno;

/// `_LINUX_CAPABILITY_VERSION_3`: two 32-bit words per set.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn prctl(
    option: libc::c_int,
    a: libc::c_ulong,
    b: libc::c_ulong,
    c: libc::c_ulong,
) -> Result<libc::c_int> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option this file uses takes integers only, no pointer.
    Errno::result(unsafe { libc::prctl(option, a, b, c, zero) })
}

/// The bounding set. The kernel answers EINVAL for the first capability it does not know.
pub fn bounding() -> u64 {
    let mut set = 0;
    for cap in 0..64 {
        match prctl(libc::PR_CAPBSET_READ, cap, 0, 0) {
            Ok(0) => {}
            Ok(_) => set |= 1 << cap,
            Err(_) => break,
        }
    }
    set
}

/// Drops from the bounding set what `keep` does not hold. Needs CAP_SETPCAP if anything is to be dropped.
pub fn drop_bounding(keep: u64) -> Result<()> {
    for cap in 0..64 {
        if keep & (1 << cap) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_READ, cap, 0, 0) {
            Ok(0) => {}
            Ok(_) => {
                prctl(libc::PR_CAPBSET_DROP, cap, 0, 0)?;
            }
            Err(_) => break,
        }
    }
    Ok(())
}

/// `(effective, permitted, inheritable)` of the calling thread.
pub fn get() -> Result<(u64, u64, u64)> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Word::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 of the call defines.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    Ok((
        join(data[0].effective, data[1].effective),
        join(data[0].permitted, data[1].permitted),
        join(data[0].inheritable, data[1].inheritable),
    ))
}

/// Sets the three sets of the calling thread.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let word = |shift: u32| Word {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let data = [word(0), word(32)];
    // SAFETY: as in `get`; the kernel only reads both.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &header, data.as_ptr()) })?;
    Ok(())
}

/// Makes the ambient set exactly `set`. Each must already be permitted and inheritable.
pub fn set_ambient(set: u64) -> Result<()> {
    const CLEAR_ALL: libc::c_ulong = 4;
    const RAISE: libc::c_ulong = 2;
    match prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0, 0) {
        // Kernels before 4.3 have no ambient set: nothing to clear.
        Err(Errno::EINVAL) if set == 0 => return Ok(()),
        other => other?,
    };
    for cap in 0..64 {
        if set & (1 << cap) != 0 {
            prctl(libc::PR_CAP_AMBIENT, RAISE, cap, 0)?;
        }
    }
    Ok(())
}

/// Whether the permitted set survives a change of all user ids from 0 to others (cleared again by execve).
pub fn keep_on_setuid(keep: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0, 0)?;
    Ok(())
}
