//! Where the control group hierarchies of this machine are mounted, and what each of them controls.
//!
//! Nothing is assumed about `/sys/fs/cgroup`: `/proc/self/cgroup` says which controllers share a hierarchy and
//! `/proc/self/mountinfo` where it is mounted (cgroups(7), proc_pid_mountinfo(5)).

use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode as Permissions;
use serde::Serialize;

use super::directory::read_fd;
use crate::error::{Error, Result};

/// What kind of machine this is for limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every controller on its own v1 hierarchy.
    V1,
    /// One v2 hierarchy with every controller.
    V2,
    /// Controllers on v1 hierarchies, and a v2 hierarchy beside them.
    Hybrid,
    /// No hierarchy is mounted: no limits at all.
    None,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hierarchy {
    /// v1: as `/proc/self/cgroup` names them (`cpu`, `name=systemd`); v2: what `cgroup.controllers` offers.
    pub controllers: Vec<String>,
    pub mountpoint: PathBuf,
    /// Path of this process's own group, seen from the mount point.
    pub own: String,
    pub read_only: bool,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Layout {
    pub v1: Vec<Hierarchy>,
    pub v2: Option<Hierarchy>,
}

impl Layout {
    /// Reads the two files of `/proc` and, if there is a v2 hierarchy, its controllers.
    pub fn detect() -> Result<Layout> {
        let read = |path: &str| {
            read_all(path)
                .map_err(|errno| Error::at("cgroup", "read", path, errno).hint("is /proc mounted?"))
        };
        let mut layout = Self::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
        if let Some(v2) = &mut layout.v2 {
            let offered = read_all(v2.mountpoint.join("cgroup.controllers")).unwrap_or_default();
            v2.controllers = offered.split_whitespace().map(str::to_owned).collect();
        }
        Ok(layout)
    }

    pub fn mode(&self) -> Mode {
        match (self.v1.is_empty(), &self.v2) {
            (true, None) => Mode::None,
            (true, Some(_)) => Mode::V2,
            (false, None) => Mode::V1,
            (false, Some(_)) => Mode::Hybrid,
        }
    }

    fn parse(mountinfo: &str, own: &str) -> Layout {
        let mounts: Vec<Mount<'_>> = mountinfo.lines().filter_map(Mount::parse).collect();
        let mut layout = Layout::default();
        for line in own.lines() {
            // hierarchy-ID:controller,controller:path — the path may itself hold colons.
            let mut fields = line.splitn(3, ':');
            let (Some(id), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let names: Vec<String> = controllers
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            let unified = id == "0" && names.is_empty();
            if !unified && names.is_empty() {
                continue;
            }
            // The last mount on a mount point hides the earlier ones, hence from the end; the whole tree is better
            // than a bind mount of one group in it.
            let fits = |mount: &&Mount<'_>| {
                if unified {
                    mount.kind == "cgroup2"
                } else {
                    mount.kind == "cgroup"
                        && names
                            .iter()
                            .all(|name| mount.options.split(',').any(|option| option == name))
                }
            };
            let candidates = || mounts.iter().rev().filter(fits);
            let Some(mount) = candidates()
                .find(|mount| mount.root == "/")
                .or_else(|| candidates().next())
            else {
                continue;
            };
            let hierarchy = Hierarchy {
                controllers: names,
                mountpoint: PathBuf::from(unescape(mount.point)),
                own: seen_from(&unescape(mount.root), path),
                read_only: mount.read_only,
            };
            if unified {
                layout.v2 = Some(hierarchy);
            } else {
                layout.v1.push(hierarchy);
            }
        }
        layout
    }
}

/// In large pieces: the kernel makes the text anew for each read of a growing buffer.
fn read_all(path: impl AsRef<Path>) -> nix::Result<String> {
    read_fd(&open(
        path.as_ref(),
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Permissions::empty(),
    )?)
}

struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
    read_only: bool,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // Most lines are other file systems: cheap test first.
        let (mount, filesystem) = line.split_once(" - cgroup")?;
        let mut fields = mount.split(' ');
        let root = fields.nth(3)?;
        let point = fields.next()?;
        let per_mount = fields.next()?;
        let mut fields = filesystem.split(' ');
        let kind = match fields.next()? {
            "" => "cgroup",
            "2" => "cgroup2",
            _ => return None,
        };
        let _source = fields.next()?;
        let options = fields.next()?;
        let read_only = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Self {
            root,
            point,
            kind,
            options,
            read_only: read_only(per_mount) || read_only(options),
        })
    }
}

/// The octal escapes of mountinfo (space, tab, newline, backslash).
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// `path` of the hierarchy as it appears below a mount whose root is the group `root`.
fn seen_from(root: &str, path: &str) -> String {
    match Path::new(path).strip_prefix(root) {
        Ok(rest) => format!("/{}", rest.display()),
        // Outside of the mounted part (a bind mount of another group, or of another cgroup namespace).
        Err(_) => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory ro,relatime shared:5 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
";
    const HYBRID_OWN: &str = "\
9:name=systemd:/
4:memory:/jobs/a:b
2:cpu,cpuacct:/
1:pids:/
0::/me
";

    #[test]
    fn hybrid() {
        let layout = Layout::parse(HYBRID_MOUNTS, HYBRID_OWN);
        assert_eq!(layout.mode(), Mode::Hybrid);
        let names: Vec<_> = layout.v1.iter().map(|h| h.controllers.join("+")).collect();
        // pids is known to the kernel but not mounted.
        assert_eq!(names, ["name=systemd", "memory", "cpu+cpuacct"]);
        assert_eq!(layout.v1[1].own, "/jobs/a:b");
        assert!(layout.v1[1].read_only);
        let v2 = layout.v2.unwrap();
        assert_eq!(
            (v2.mountpoint.to_str().unwrap(), &*v2.own),
            ("/sys/fs/cgroup/uni fied", "/me")
        );
    }

    #[test]
    fn pure_v2_and_none() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
        assert_eq!(Layout::parse(mounts, "0::/user.slice\n").mode(), Mode::V2);
        assert_eq!(Layout::parse("", "0::/\n").mode(), Mode::None);
    }

    #[test]
    fn inside_a_container_without_a_cgroup_namespace() {
        let mounts = "\
50 49 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
51 49 0:33 /docker/other /mnt rw - cgroup cgroup rw,pids
";
        let layout = Layout::parse(mounts, "4:memory:/docker/abc/x\n5:pids:/docker/abc\n");
        assert_eq!(layout.v1[0].own, "/x");
        assert_eq!(layout.v1[1].own, "/");
    }
}
