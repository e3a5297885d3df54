//! ADD of a local archive: unpacked over what is there, as Docker does in a chroot of the destination
//! (moby/go-archive Untar): links on the way are followed inside the destination, directories are merged, everything
//! else is replaced.
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::destination::{Destination, Layers, Made};
use crate::allowance::Allowance;
use crate::error::{Error, Result};
use crate::pipeline::Pass;
use crate::progress::Progress;
use crate::stored::Stored;

/// Unpacks the tar `archive` (plain, gzip or zstd, by its first bytes) into the directory `dest` of the container,
/// which is made as `as_made` says. Owners, modes and times are those of the archive; names beginning with `.wh.` mean
/// nothing, and hard links only what was unpacked or was there. Returns how many entries there were. `progress` counts
/// bytes read. After an error the upper directory is only good to be removed.
pub fn unpack_archive(
    archive: &Path,
    dest: &[u8],
    layers: &Layers,
    as_made: Made,
    progress: &Arc<Progress>,
    allowance: Arc<Allowance>,
) -> Result<u64> {
    let name = archive.as_os_str().as_bytes();
    let failed = |op| move |error: std::io::Error| Error::io(op, name, &error);
    let file = File::open(archive).map_err(failed("open"))?;
    let size = file.metadata().map_err(failed("stat"))?.len();
    progress.set_total(size);
    let mut destination = Destination::open(layers, as_made)?;
    let at = destination.directories(dest)?;
    let directory = destination.directory(&at)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let pass = Pass {
        dest: &path,
        over: true,
        compression: None,
        progress: Arc::clone(progress),
        allowance,
    };
    let entries = pass
        .run_apart(&mut Stored::new(file, name, progress), size)?
        .entries;
    drop(directory);
    destination.finish()?;
    Ok(entries)
}
