//! Limits of huge pages, one per page size.

use nix::errno::Errno;
use oci_spec::runtime::LinuxHugepageLimit;

use super::place::{Place, Places, max_or};
use crate::error::{Error, Result};

pub(crate) fn apply(places: &Places, limits: &[LinuxHugepageLimit]) -> Result<()> {
    for limit in limits {
        let size = limit.page_size();
        // The size becomes part of a file name.
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(
                Error::invalid(format!("\"{size}\" is no size of a huge page"))
                    .hint("sizes are written as 2MB or 1GB"),
            );
        }
        let (dir, usage, reserved, value) =
            match places.need("hugetlb", "hugetlb", "limit of huge pages")? {
                Place::V1(dir) => (
                    dir,
                    format!("hugetlb.{size}.limit_in_bytes"),
                    format!("hugetlb.{size}.rsvd.limit_in_bytes"),
                    limit.limit().to_string(),
                ),
                Place::V2(dir) => (
                    dir,
                    format!("hugetlb.{size}.max"),
                    format!("hugetlb.{size}.rsvd.max"),
                    max_or(limit.limit()),
                ),
            };
        dir.set(&usage, &value)
            .map_err(|error| match error.errno() {
                Some(Errno::ENOENT) => error
                    .hint("this machine has no huge pages of this size (/sys/kernel/mm/hugepages)"),
                _ => error,
            })?;
        // Reservations are counted apart since Linux 5.7; unlimited, they would let mmap succeed and the touch die.
        match dir.write(&reserved, &value) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(dir.refused(&reserved, &value, errno)),
        }
    }
    Ok(())
}
