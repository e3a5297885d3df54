//! The v2 directory of a container, and the controllers that its parents must hand down to it.

use nix::errno::Errno;
use oci_spec::runtime::LinuxResources;

use super::directory::{Dir, read_at, write_at};
use super::layout::{Hierarchy, Layout};
use super::place::V2;
use super::unified;
use crate::error::describe;

/// The controllers to hand down: all on a pure v2 machine, so that statistics and later updates work; beside v1 only
/// what is asked for, since each one that is enabled changes the machine's root group.
pub(crate) fn wanted(layout: &Layout, resources: Option<&LinuxResources>) -> Vec<String> {
    let offered = layout.v2.as_ref().map_or(&[][..], |v2| &v2.controllers);
    let pure = layout.v1.is_empty();
    let asked: Vec<&str> = resources.map_or_else(Vec::new, |resources| {
        let hugetlb = resources
            .hugepage_limits()
            .as_ref()
            .is_some_and(|l| !l.is_empty());
        let rdma = resources.rdma().as_ref().is_some_and(|l| !l.is_empty());
        let named = resources.unified().as_ref().map(unified::controllers);
        hugetlb
            .then_some("hugetlb")
            .into_iter()
            .chain(rdma.then_some("rdma"))
            // A controller that is on v2 here although most are on v1.
            .chain(resources.memory().is_some().then_some("memory"))
            .chain(resources.pids().is_some().then_some("pids"))
            .chain(resources.block_io().is_some().then_some("io"))
            .chain(resources.cpu().is_some().then_some("cpu"))
            .chain(
                resources
                    .cpu()
                    .as_ref()
                    .is_some_and(|cpu| cpu.cpus().is_some() || cpu.mems().is_some())
                    .then_some("cpuset"),
            )
            .chain(named.into_iter().flatten())
            .collect()
    });
    offered
        .iter()
        .filter(|name| pure || asked.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// Makes the directory. Also gives the controllers that a parent would not hand down, with the reason.
pub(crate) fn create(
    hierarchy: &Hierarchy,
    path: &str,
    wanted: Vec<String>,
) -> nix::Result<(V2, Vec<String>)> {
    let dir = Dir::create(hierarchy, path, &mut |_, _| Ok(()))?;
    let mut refused = Vec::new();
    let mut controllers = enabled(&dir);
    if wanted.iter().any(|name| !controllers.contains(name)) {
        refused = enable(&dir, &super::directory::resolve(hierarchy, path), &wanted);
        controllers = enabled(&dir);
    }
    Ok((V2 { controllers, dir }, refused))
}

pub(crate) fn open(hierarchy: &Hierarchy, path: &str) -> nix::Result<Option<V2>> {
    Ok(Dir::open(hierarchy, path)?.map(group))
}

/// A directory that exists.
pub(crate) fn group(dir: Dir) -> V2 {
    V2 {
        controllers: enabled(&dir),
        dir,
    }
}

fn enabled(dir: &Dir) -> Vec<String> {
    let text = dir.read("cgroup.controllers").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Hands the controllers down from the root to the parent of the directory.
fn enable(dir: &Dir, path: &str, wanted: &[String]) -> Vec<String> {
    let mut refused = Vec::new();
    let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
    for parent in std::iter::once("").chain(parents) {
        let file = if parent.is_empty() {
            "cgroup.subtree_control".to_owned()
        } else {
            format!("{parent}/cgroup.subtree_control")
        };
        let present = read_at(dir.root(), &file).unwrap_or_default();
        wanted.retain(|name| {
            if present.split_whitespace().any(|have| have == *name) {
                return true;
            }
            // One at a time: a single refusal would reject the whole line.
            match write_at(dir.root(), &file, &format!("+{name}")) {
                Ok(()) => true,
                Err(errno) => {
                    refused.push(format!("{name}: {}", reason(parent, errno)));
                    false
                }
            }
        });
    }
    refused
}

fn reason(parent: &str, errno: Errno) -> String {
    match errno {
        // The rule of "no internal processes" (kernel doc cgroup-v2.rst), met when pyd itself runs in a container.
        Errno::EBUSY => {
            format!("processes are in the group /{parent} itself; move them into a group below it")
        }
        _ => describe(errno),
    }
}
