//! What this process may do to files, so that an unprivileged one does what it can instead of failing.

/// Effective capabilities that matter for unpacking.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// Give files to other owners. Without it all files are the caller's.
    pub chown: bool,
    /// Make device nodes. Without it they are left out, as Docker does in a user namespace.
    pub mknod: bool,
    /// Set trusted.* attributes (if this is not inside a user namespace).
    pub admin: bool,
}

const CAP_CHOWN: u64 = 1 << 0;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const CAP_MKNOD: u64 = 1 << 27;

impl Rights {
    /// Of the calling thread. All when /proc cannot tell: the kernel will then.
    pub fn of_this_thread() -> Self {
        let effective = std::fs::read_to_string("/proc/thread-self/status")
            .ok()
            .and_then(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("CapEff:"))?;
                u64::from_str_radix(line.trim(), 16).ok()
            })
            .unwrap_or(u64::MAX);
        Self {
            chown: effective & CAP_CHOWN != 0,
            mknod: effective & CAP_MKNOD != 0,
            admin: effective & CAP_SYS_ADMIN != 0,
        }
    }
}
