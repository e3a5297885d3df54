//! Landlock, landlock(7): a thread gives up access to the file system for good.
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

// linux/landlock.h. Reading (READ_FILE, READ_DIR) and EXECUTE are left alone: the sandboxed thread needs /proc.
const WRITE_FILE: u64 = 1 << 1;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_ANY: u64 = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12; // char dir reg sock fifo block sym
const REFER: u64 = 1 << 13; // ABI 2
const TRUNCATE: u64 = 1 << 14; // ABI 3
const RULE_PATH_BENEATH: u32 = 1;
const CREATE_RULESET_VERSION: u32 = 1;

#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// From now on the calling thread, and threads it starts, can create, change the content of, link, and remove files
/// only beneath `directory`. Owner, mode and xattrs are not covered by Landlock.
///
/// Returns false where the kernel has no Landlock ABI 2 (before 5.19, or disabled): without REFER hard links between
/// directories would fail.
pub fn write_only_beneath(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    // SAFETY: a null attribute of size 0 with the VERSION flag only asks for the ABI version.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    if abi < 2 {
        return Ok(false);
    }
    let truncate = if abi >= 3 { TRUNCATE } else { 0 };
    let access = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_ANY | REFER | truncate;
    let attr = RulesetAttr {
        handled_access_fs: access,
    };
    // SAFETY: `attr` is a valid landlock_ruleset_attr of the given size (older, shorter versions are accepted).
    let ruleset = Errno::result(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attr,
            size_of::<RulesetAttr>(),
            0_u32,
        )
    })?;
    let ruleset = i32::try_from(ruleset).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel just returned this descriptor and nobody else has it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    let rule = PathBeneathAttr {
        allowed_access: access,
        parent_fd: directory.as_raw_fd(),
    };
    // SAFETY: `rule` is a valid landlock_path_beneath_attr and both descriptors are open.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    })?;
    // Needed unless the thread has CAP_SYS_ADMIN; it is an attribute of the thread, not of the process.
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) })?;
    // SAFETY: takes an open ruleset descriptor and flags.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32)
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    #[test]
    fn nothing_outside_can_be_written() {
        let base = std::env::temp_dir().join(format!("pyd-landlock-{}", std::process::id()));
        let (inside, outside) = (base.join("inside"), base.join("outside"));
        for directory in [&inside.join("a"), &inside.join("b"), &outside] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(outside.join("canary"), "alive").unwrap();
        let (held, target) = (inside.clone(), outside.clone());
        let restricted = std::thread::spawn(move || {
            let directory = File::open(&held).unwrap();
            if !write_only_beneath(directory.as_fd()).unwrap() {
                return false;
            }
            fs::write(held.join("a/f"), "x").unwrap();
            fs::hard_link(held.join("a/f"), held.join("b/f")).unwrap();
            fs::rename(held.join("a/f"), held.join("b/g")).unwrap();
            for failed in [
                fs::write(target.join("new"), "x"),
                fs::write(target.join("canary"), "dead"),
                fs::remove_file(target.join("canary")),
                fs::create_dir(target.join("dir")),
                fs::hard_link(held.join("b/f"), target.join("link")),
                File::create(target.join("canary")).map(drop),
            ] {
                let kind = failed.unwrap_err().raw_os_error();
                assert!(matches!(kind, Some(libc::EACCES | libc::EXDEV)), "{kind:?}");
            }
            true
        })
        .join()
        .unwrap();
        // Other threads are as free as before.
        fs::write(outside.join("new"), "x").unwrap();
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");
        fs::remove_dir_all(&base).unwrap();
        if !restricted {
            eprintln!("this kernel has no Landlock");
        }
    }
}
