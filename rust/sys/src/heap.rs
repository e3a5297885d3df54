//! Settings of the C library's allocator for a process that must stay small for days.

/// One arena, and freed memory goes back to the kernel at once: buffers of 64 KiB and more are mappings of their
/// own, and the top of the heap is cut as soon as 64 KiB of it are free. Without this glibc raises both bounds to
/// the largest buffer that was ever freed, and a monitor keeps the memory of its loudest second.
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, 64 * 1024),
        (libc::M_TRIM_THRESHOLD, 64 * 1024),
        (libc::M_TOP_PAD, 16 * 1024),
    ] {
        // SAFETY: integers only; mallopt takes the allocator's lock itself.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives every free page of the heap back, for instance after a start that needed more than the waiting will.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes an integer and the allocator's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}
