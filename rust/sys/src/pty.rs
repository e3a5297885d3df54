//! Pseudo terminals: `ioctl_tty(2)`.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Makes the terminal the controlling one of the calling session leader.
pub fn set_controlling(terminal: impl AsFd) -> nix::Result<()> {
    // SAFETY: valid descriptor; the argument 0 means "do not steal it".
    Errno::result(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) })?;
    Ok(())
}

/// Sets the window size in characters.
pub fn set_size(terminal: impl AsFd, rows: u16, columns: u16) -> nix::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: valid descriptor and a struct of the type that the request reads.
    Errno::result(unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCSWINSZ,
            &raw const size,
        )
    })?;
    Ok(())
}

/// Window size as (rows, columns).
pub fn size(terminal: impl AsFd) -> nix::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: valid descriptor and a struct of the type that the request writes.
    Errno::result(unsafe {
        libc::ioctl(
            terminal.as_fd().as_raw_fd(),
            libc::TIOCGWINSZ,
            &raw mut size,
        )
    })?;
    Ok((size.ws_row, size.ws_col))
}

/// Lets the slave of this master be opened.
pub fn unlock(master: impl AsFd) -> nix::Result<()> {
    let zero: libc::c_int = 0;
    // SAFETY: valid descriptor and a pointer to the int that the request reads.
    Errno::result(unsafe {
        libc::ioctl(
            master.as_fd().as_raw_fd(),
            libc::TIOCSPTLCK,
            &raw const zero,
        )
    })?;
    Ok(())
}

/// Opens the slave of this very master (`TIOCGPTPEER`), whatever lies at `/dev/pts/N` (CVE-2025-52565).
pub fn open_slave(master: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: valid descriptor; the request takes open flags and gives a new descriptor.
    let fd = Errno::result(unsafe {
        libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags)
    })?;
    // SAFETY: just made, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
