//! The few bpf(2) commands that device control on cgroup v2 needs.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::Result;
use nix::errno::Errno;

const PROG_LOAD: libc::c_ulong = 5;
const PROG_ATTACH: libc::c_ulong = 8;
const PROG_DETACH: libc::c_ulong = 9;
const PROG_GET_FD_BY_ID: libc::c_ulong = 13;
const PROG_QUERY: libc::c_ulong = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// One eBPF instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// Destination register in the low four bits, source in the high four.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// The head of `union bpf_attr` for PROG_LOAD, up to expected_attach_type.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

fn bpf<T>(command: libc::c_ulong, attr: &mut T) -> Result<libc::c_long> {
    // SAFETY: `attr` is a live prefix of union bpf_attr of exactly the size that is passed; the kernel treats the rest
    // as zero. Pointers inside it are to slices that the callers keep alive over the call.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    })
}

fn descriptor(answer: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just answered this new descriptor (close-on-exec); nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(answer as i32) }
}

/// Checks and loads a BPF_PROG_TYPE_CGROUP_DEVICE program.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd> {
    // The kernel's helpers that need a GPL licence are not used; the string must exist all the same.
    let license = c"Apache-2.0";
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        prog_name: *b"pyd_devices\0\0\0\0\0",
        expected_attach_type: CGROUP_DEVICE,
        ..LoadAttr::default()
    };
    bpf(PROG_LOAD, &mut attr).map(descriptor)
}

/// Attaches a device program beside those of the parents; `replace` is swapped out in the same step if given.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: &OwnedFd,
    replace: Option<&OwnedFd>,
) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(PROG_ATTACH, &mut attr).map(drop)
}

/// Takes a device program off a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: &OwnedFd) -> Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    bpf(PROG_DETACH, &mut attr).map(drop)
}

/// The device programs attached to this cgroup itself (its parents' are not listed).
pub fn device_programs(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..QueryAttr::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    ids[..attr.prog_cnt as usize]
        .iter()
        .map(|id| {
            #[repr(C)]
            struct ById {
                id: u32,
                next_id: u32,
                open_flags: u32,
            }
            let mut attr = ById {
                id: *id,
                next_id: 0,
                open_flags: 0,
            };
            bpf(PROG_GET_FD_BY_ID, &mut attr).map(descriptor)
        })
        .collect()
}
