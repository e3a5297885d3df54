//! Limits of huge pages, one per page size.

use std::collections::BTreeMap;

use nix::errno::Errno;
use oci_spec::runtime::LinuxHugepageLimit;

use super::directory::Dir;
use super::place::{Place, Places, max_or};
use super::stats::{Counter, number, value_of};
use crate::error::{Error, Result};

/// Use and limit of each size that the machine has; an empty map without the controller.
pub(crate) fn usage(places: &Places) -> BTreeMap<String, Counter> {
    let Some(place) = places.find("hugetlb", "hugetlb") else {
        return BTreeMap::new();
    };
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten()
        .flatten();
    let sizes = sizes.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        Some(size_name(kib))
    });
    sizes
        .map(|size| {
            let read =
                |dir: &Dir, file: &str| number(dir, &format!("hugetlb.{size}.{file}")).unwrap_or(0);
            let counter = match place {
                Place::V1(dir) => Counter {
                    usage: read(dir, "usage_in_bytes"),
                    max_usage: read(dir, "max_usage_in_bytes"),
                    failcnt: read(dir, "failcnt"),
                    ..Counter::default()
                },
                Place::V2(dir) => {
                    let events = dir
                        .read(&format!("hugetlb.{size}.events"))
                        .unwrap_or_default();
                    Counter {
                        usage: read(dir, "current"),
                        failcnt: value_of(&events, "max").unwrap_or(0),
                        ..Counter::default()
                    }
                }
            };
            (size, counter)
        })
        .collect()
}

/// As the kernel names its files: 2048 is `2MB`.
fn size_name(kib: u64) -> String {
    match kib {
        _ if kib >= 1 << 20 => format!("{}GB", kib >> 20),
        _ if kib >= 1 << 10 => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    }
}

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
