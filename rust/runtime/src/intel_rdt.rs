//! Cache and memory bandwidth of a container (`linux.intelRdt`): its class of service (CLOS) in the resctrl filesystem
//! (kernel: Documentation/filesystems/resctrl.rst).
//!
//! A class is a directory with a `schemata` file, which says what it may use, and a `tasks` file of its members. One
//! that the spec names belongs to whoever manages classes on this machine and outlives the container; one that has the
//! container's own id goes with it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::error::{Error, Result};
use crate::spec::{LinuxIntelRdt, Spec};

/// Directories of resctrl that are no classes.
const RESERVED: [&str; 3] = ["info", "mon_groups", "mon_data"];

/// The container's place in resctrl.
#[derive(Debug)]
pub struct IntelRdt {
    class: PathBuf,
    monitor: Option<PathBuf>,
    /// Whether `class` is the container's own.
    own: bool,
}

/// Refuses names and lines that could not mean what their author thinks.
pub fn check(rdt: &LinuxIntelRdt) -> Result<()> {
    let wrong =
        |field: &str, why: &str| Err(Error::invalid(format!("linux.intelRdt.{field}: {why}")));
    let id = rdt.clos_id().as_deref().unwrap_or("");
    if id != "/" && (id == "." || id == ".." || id.contains(['/', '\0', '\n'])) {
        return wrong("closID", &format!("{id:?} is not the name of a class"));
    }
    if RESERVED.contains(&id) {
        return wrong("closID", &format!("{id:?} is a name of resctrl's own"));
    }
    let schema = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    if let Some(cache) = schema(rdt.l3_cache_schema()) {
        check_line("l3CacheSchema", &cache)?;
        if !cache.starts_with("L3") {
            return wrong("l3CacheSchema", "does not begin with L3:");
        }
    }
    if let Some(bandwidth) = schema(rdt.mem_bw_schema()) {
        check_line("memBwSchema", &bandwidth)?;
        if !bandwidth.starts_with("MB:") || bandwidth.contains('\n') {
            return wrong("memBwSchema", "is not one line that begins with MB:");
        }
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if line.contains('\n') {
            return wrong(&format!("schemata[{index}]"), "is more than one line");
        }
        check_line(&format!("schemata[{index}]"), line)?;
    }
    Ok(())
}

/// `RESOURCE:id=value;id=value` on every line.
fn check_line(field: &str, text: &str) -> Result<()> {
    let good = |line: &str| {
        line.split_once(':').is_some_and(|(resource, domains)| {
            !resource.trim().is_empty()
                && domains.split(';').all(|domain| {
                    domain.split_once('=').is_some_and(|(id, value)| {
                        !id.trim().is_empty()
                            && id.trim().bytes().all(|b| b.is_ascii_digit())
                            && !value.trim().is_empty()
                            && value.trim().bytes().all(|b| b.is_ascii_hexdigit())
                    })
                })
        })
    };
    match !text.is_empty() && text.lines().all(good) && !text.contains('\0') {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "linux.intelRdt.{field} {text:?} is not of the form L3:0=ff;1=ff"
        ))),
    }
}

/// Makes or finds the container's class. None where the spec does not ask for one.
pub fn prepare(spec: &Spec, id: &str) -> Result<Option<IntelRdt>> {
    let Some(rdt) = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.intel_rdt().as_ref())
    else {
        return Ok(None);
    };
    check(rdt)?;
    match (mount_point(), asked(rdt)) {
        (Some(root), _) => make(&root, rdt, id).map(Some),
        // An empty object asks for nothing.
        (None, None) => Ok(None),
        (None, Some(field)) => Err(Error::new(
            "limits",
            format!("linux.intelRdt.{field} needs the resctrl filesystem, which is not mounted"),
        )
        .hint(
            "mount -t resctrl resctrl /sys/fs/resctrl; the processor must have resource control",
        )),
    }
}

/// Removes what a container that was made from this spec had for itself.
pub fn remove(spec: &Spec, id: &str) -> Result<()> {
    let rdt = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.intel_rdt().as_ref());
    match rdt.and_then(|rdt| Some((rdt, mount_point()?))) {
        Some((rdt, root)) => place(&root, rdt, id).remove(),
        None => Ok(()),
    }
}

impl IntelRdt {
    /// Parent: moves the container's init into the class. What it starts belongs to it too.
    pub fn add(&self, pid: Pid) -> Result<()> {
        for group in [Some(&self.class), self.monitor.as_ref()]
            .into_iter()
            .flatten()
        {
            write(&group.join("tasks"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Removes the directories that are the container's own; their processes are the root class's then.
    pub fn remove(&self) -> Result<()> {
        let own = self.own.then_some(&self.class);
        for directory in [self.monitor.as_ref(), own].into_iter().flatten() {
            match fs::remove_dir(directory) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("rmdir", directory, &e));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The first field that asks for something.
fn asked(rdt: &LinuxIntelRdt) -> Option<&'static str> {
    let text = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    #[allow(deprecated, reason = "specs before 1.3 have these two")]
    let (occupancy, bandwidth) = (rdt.enable_cmt(), rdt.enable_mbm());
    [
        (text(rdt.clos_id()), "closID"),
        (text(rdt.l3_cache_schema()), "l3CacheSchema"),
        (text(rdt.mem_bw_schema()), "memBwSchema"),
        (
            rdt.schemata()
                .as_ref()
                .is_some_and(|lines| !lines.is_empty()),
            "schemata",
        ),
        (*rdt.enable_monitoring() == Some(true), "enableMonitoring"),
        (*occupancy == Some(true), "enableCMT"),
        (*bandwidth == Some(true), "enableMBM"),
    ]
    .into_iter()
    .find_map(|(asked, field)| asked.then_some(field))
}

fn place(root: &Path, rdt: &LinuxIntelRdt, id: &str) -> IntelRdt {
    let named = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
    let class = match named {
        Some("/") => root.to_owned(),
        other => root.join(other.unwrap_or(id)),
    };
    let monitor =
        (*rdt.enable_monitoring() == Some(true)).then(|| class.join("mon_groups").join(id));
    IntelRdt {
        class,
        monitor,
        own: named.is_none(),
    }
}

fn make(root: &Path, rdt: &LinuxIntelRdt, id: &str) -> Result<IntelRdt> {
    check_host(root, rdt)?;
    let place = place(root, rdt, id);
    if place.own && RESERVED.contains(&id) {
        return Err(Error::invalid(format!(
            "linux.intelRdt: the container's id {id:?} is a name of resctrl's own"
        ))
        .hint("give a closID"));
    }
    let schemata = schemata(rdt);
    let existed = place.class.is_dir();
    if place.own && existed {
        // Left over from a creation that was killed; a class in use is somebody else's.
        let tasks = fs::read_to_string(place.class.join("tasks")).unwrap_or_default();
        if !tasks.trim().is_empty() {
            return Err(Error::new(
                "limits",
                format!("linux.intelRdt: the class {id} is in use"),
            )
            .hint("give a closID"));
        }
        fs::remove_dir(&place.class).map_err(|e| failed("rmdir", &place.class, &e))?;
    }
    if !place.own && existed {
        if !schemata.is_empty() {
            compare(&place.class, &schemata)?;
        }
    } else if !place.own && schemata.is_empty() {
        let name = place.class.display();
        return Err(Error::new(
            "limits",
            format!("linux.intelRdt.closID: there is no class {name}"),
        )
        .hint("make it, or say with l3CacheSchema, memBwSchema or schemata what it shall be"));
    } else {
        fs::create_dir(&place.class).map_err(|e| {
            let error = failed("mkdir", &place.class, &e);
            match e.raw_os_error() {
                Some(libc::ENOSPC) => error.hint("the processor has no more classes of service"),
                _ => error,
            }
        })?;
    }
    let filled = fill(&place, existed && !place.own, &schemata);
    if filled.is_err() {
        let _ = place.remove();
        if !existed && !place.own {
            let _ = fs::remove_dir(&place.class);
        }
    }
    filled.map(|()| place)
}

fn fill(place: &IntelRdt, foreign: bool, schemata: &[String]) -> Result<()> {
    if !foreign && !schemata.is_empty() {
        let text = schemata.join("\n") + "\n";
        write(&place.class.join("schemata"), &text).map_err(|e| {
            e.hint("resctrl's info/last_cmd_status says what is wrong with the schemata")
        })?;
    }
    match &place.monitor {
        Some(monitor) => fs::create_dir(monitor)
            .map_err(|e| failed("mkdir", monitor, &e).context("linux.intelRdt.enableMonitoring")),
        None => Ok(()),
    }
}

/// The lines for `schemata`, the most precise field last.
fn schemata(rdt: &LinuxIntelRdt) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (cache, bandwidth) = (text(rdt.l3_cache_schema()), text(rdt.mem_bw_schema()));
    // memBwSchema is the one place for bandwidth once it is given (config-linux.md, "IntelRdt").
    let cache_lines = cache
        .lines()
        .filter(|line| bandwidth.is_empty() || !line.trim().starts_with("MB:"));
    cache_lines
        .chain(bandwidth.lines())
        .chain(rdt.schemata().iter().flatten().map(String::as_str))
        .map(str::to_owned)
        .collect()
}

/// A class that exists must already be what the spec wants: others may be in it.
fn compare(class: &Path, wanted: &[String]) -> Result<()> {
    let path = class.join("schemata");
    let present = fs::read_to_string(&path).map_err(|e| failed("read", &path, &e))?;
    let present: Vec<_> = present.lines().flat_map(domains).collect();
    for line in wanted {
        if let Some(missing) = domains(line)
            .into_iter()
            .find(|domain| !present.contains(domain))
        {
            let (resource, id, value) = missing;
            return Err(Error::new(
                "limits",
                format!(
                    "linux.intelRdt.closID: {} does not have {resource}:{id}={value}",
                    class.display()
                ),
            )
            .hint("leave the schemata out, or name a class that does not exist yet"));
        }
    }
    Ok(())
}

/// Resource, domain and value of each entry of a line, without padding.
fn domains(line: &str) -> Vec<(String, String, String)> {
    let Some((resource, rest)) = line.split_once(':') else {
        return Vec::new();
    };
    let bare = |text: &str| {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.trim_start_matches('0');
        if digits.is_empty() {
            "0".to_owned()
        } else {
            digits.to_owned()
        }
    };
    rest.split(';')
        .filter_map(|domain| domain.split_once('='))
        .map(|(id, value)| (resource.trim().to_owned(), bare(id), bare(value)))
        .collect()
}

/// What the processor has: the kernel would say only "invalid argument".
fn check_host(root: &Path, rdt: &LinuxIntelRdt) -> Result<()> {
    let missing = |field: &str, what: &str| {
        Err(Error::new(
            "limits",
            format!("linux.intelRdt.{field}: this processor has no {what}"),
        ))
    };
    let text = |value: &Option<String>| value.as_deref().is_some_and(|value| !value.is_empty());
    let info = root.join("info");
    // With code and data prioritisation the cache has two resources.
    if text(rdt.l3_cache_schema()) && !info.join("L3").is_dir() && !info.join("L3CODE").is_dir() {
        return missing("l3CacheSchema", "allocation of L3 cache");
    }
    if text(rdt.mem_bw_schema()) && !info.join("MB").is_dir() {
        return missing("memBwSchema", "allocation of memory bandwidth");
    }
    let features = fs::read_to_string(info.join("L3_MON/mon_features")).unwrap_or_default();
    let has = |prefix: &str| features.lines().any(|feature| feature.starts_with(prefix));
    #[allow(deprecated, reason = "specs before 1.3 have these two")]
    let (occupancy, bandwidth) = (rdt.enable_cmt(), rdt.enable_mbm());
    if *occupancy == Some(true) && !has("llc_occupancy") {
        return missing("enableCMT", "monitoring of cache occupancy");
    }
    if *bandwidth == Some(true) && !has("mbm_") {
        return missing("enableMBM", "monitoring of memory bandwidth");
    }
    if *rdt.enable_monitoring() == Some(true) && features.is_empty() {
        return missing("enableMonitoring", "monitoring of caches");
    }
    Ok(())
}

fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after
            .starts_with("resctrl ")
            .then(|| before.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| failed("write", path, &e).context("linux.intelRdt"))
}

fn failed(op: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::at(
        "limits",
        op,
        path,
        Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
    )
}

#[cfg(test)]
mod tests;
