//! Control groups against the running kernel. Needs root and a writable hierarchy; says so and passes otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use oci_spec::runtime::LinuxResources;
use pyd_runtime::cgroup::{self, Cgroup, Layout, Mode};

/// A group under a parent of this test process, gone at the end whatever happens.
struct Group {
    path: String,
    cgroup: Cgroup,
}

impl Group {
    fn new(name: &str, resources: &str) -> Group {
        let path = path(name);
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let cgroup = Cgroup::create(&path, Some(&resources)).unwrap();
        Group { path, cgroup }
    }

    /// A shell command that starts once it is a member.
    fn run(&self, script: &str) -> Child {
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup.add(child.id() as i32).unwrap();
        child
    }

    fn go(child: &mut Child) {
        drop(child.stdin.take());
    }

    fn file(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let layout = Layout::detect().unwrap();
        let hierarchy = layout
            .v1
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))?;
        Some(hierarchy.mountpoint.join(&self.path[1..]).join(name))
    }

    /// On a machine whose controllers are all on v2.
    fn on_v2(&self, name: &str) -> Option<String> {
        let layout = Layout::detect().unwrap();
        let hierarchy = layout.v2.filter(|_| layout.v1.is_empty())?;
        let path = hierarchy.mountpoint.join(&self.path[1..]).join(name);
        Some(fs::read_to_string(path).unwrap().trim().to_owned())
    }

    fn value(&self, controller: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.file(controller, name)?).unwrap();
        Some(text.trim().to_owned())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        self.cgroup.remove().unwrap();
    }
}

fn path(name: &str) -> String {
    format!("/pyd-limits-{}-{name}/c", std::process::id())
}

fn usable() -> bool {
    let usable = geteuid().is_root()
        && cgroup::info().is_ok_and(|info| info.mode != Mode::None && !info.controllers.is_empty());
    if !usable {
        eprintln!("skipped: needs root and writable control groups");
    }
    usable
}

fn directories(path: &str) -> Vec<PathBuf> {
    let layout = Layout::detect().unwrap();
    layout
        .v1
        .iter()
        .chain(&layout.v2)
        .map(|h| h.mountpoint.join(&path[1..]))
        .filter(|dir| dir.exists())
        .collect()
}

#[test]
fn made_and_removed_with_its_parent() {
    if !usable() {
        return;
    }
    let path = path("life");
    let group = Cgroup::create(&path, None).unwrap();
    let layout = Layout::detect().unwrap();
    assert_eq!(
        directories(&path).len(),
        layout.v1.len() + usize::from(layout.v2.is_some())
    );
    assert_eq!(group.init_fd().is_some(), layout.v2.is_some());
    group.remove().unwrap();
    assert!(directories(&path).is_empty());
    assert!(directories(path.rsplit_once('/').unwrap().0).is_empty());
    // Removing what is gone is no error, and neither is loading it.
    group.remove().unwrap();
    assert!(!Cgroup::load(&path).unwrap().exists());
}

#[test]
fn a_parent_of_the_user_stays() {
    if !usable() {
        return;
    }
    let path = path("kept");
    let parent = path.rsplit_once('/').unwrap().0.to_owned();
    let layout = Layout::detect().unwrap();
    let mine: Vec<PathBuf> = layout
        .v1
        .iter()
        .chain(&layout.v2)
        .map(|h| h.mountpoint.join(&parent[1..]))
        .collect();
    mine.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let group = Cgroup::create(&path, None).unwrap();
    group.remove().unwrap();
    let kept = mine.iter().filter(|dir| dir.exists()).count();
    mine.iter().for_each(|dir| drop(fs::remove_dir(dir)));
    assert_eq!(kept, mine.len());
}

#[test]
fn limits_arrive() {
    if !usable() {
        return;
    }
    let group = Group::new(
        "limits",
        r#"{"memory":{"limit":67108864,"reservation":33554432,"swap":134217728,"swappiness":10},
            "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0"},
            "pids":{"limit":17}}"#,
    );
    let expect = |controller: &str, file: &str, value: &str| {
        if let Some(found) = group.value(controller, file) {
            assert_eq!(found, value, "{file}");
        }
    };
    expect("memory", "memory.limit_in_bytes", "67108864");
    expect("memory", "memory.memsw.limit_in_bytes", "134217728");
    expect("memory", "memory.soft_limit_in_bytes", "33554432");
    expect("memory", "memory.swappiness", "10");
    expect("cpu", "cpu.shares", "512");
    expect("cpu", "cpu.cfs_quota_us", "50000");
    expect("cpuset", "cpuset.cpus", "0");
    expect("pids", "pids.max", "17");
    let expect_v2 = |file: &str, value: &str| {
        if let Some(found) = group.on_v2(file) {
            assert_eq!(found, value, "{file}");
        }
    };
    expect_v2("memory.max", "67108864");
    expect_v2("memory.swap.max", "67108864");
    expect_v2("memory.low", "33554432");
    expect_v2("cpu.weight", "59");
    expect_v2("cpu.max", "50000 100000");
    expect_v2("cpuset.cpus", "0");
    expect_v2("pids.max", "17");
    let update = |json: &str| {
        group
            .cgroup
            .update(&serde_json::from_str(json).unwrap())
            .unwrap();
    };
    // Up beyond the old total, down below the old limit, and lifted.
    update(r#"{"memory":{"limit":268435456,"swap":536870912}}"#);
    expect("memory", "memory.limit_in_bytes", "268435456");
    update(r#"{"memory":{"limit":33554432,"swap":33554432}}"#);
    expect("memory", "memory.memsw.limit_in_bytes", "33554432");
    expect_v2("memory.swap.max", "0");
    update(r#"{"memory":{"limit":-1},"pids":{"limit":-1},"cpu":{"quota":-1}}"#);
    expect("pids", "pids.max", "max");
    expect("cpu", "cpu.cfs_quota_us", "-1");
    expect("cpu", "cpu.shares", "512");
    expect_v2("memory.max", "max");
    expect_v2("memory.swap.max", "max");
    expect_v2("cpu.max", "max 100000");
    expect_v2("pids.max", "max");
}

fn has_controller(name: &str) -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut controllers = own
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .flat_map(|names| names.split(','));
    controllers.any(|controller| controller == name)
}

#[test]
fn wrong_values_are_explained_and_leave_nothing() {
    if !usable() {
        return;
    }
    for (name, resources, word) in [
        ("w1", r#"{"cpu":{"cpus":"4000-5000"}}"#, "cpuset.cpus"),
        (
            "w2",
            r#"{"memory":{"limit":67108864,"swappiness":101}}"#,
            "swappiness",
        ),
        ("w3", r#"{"unified":{"no.such":"1"}}"#, "no"),
        ("w4", r#"{"unified":{"../evil.x":"1"}}"#, "evil"),
        (
            "w5",
            r#"{"hugepageLimits":[{"pageSize":"../2MB","limit":1}]}"#,
            "2MB",
        ),
        ("w6", r#"{"cpu":{"shares":262145}}"#, "shares"),
        ("w7", r#"{"network":{"classID":7}}"#, "net_cls"),
        (
            "w8",
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":4095,"minor":77,"rate":1}]}}"#,
            "4095:77",
        ),
    ] {
        // Where the controller is mounted a class is nothing wrong.
        if word == "net_cls" && has_controller(word) {
            continue;
        }
        let path = path(name);
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let error = Cgroup::create(&path, Some(&resources)).unwrap_err();
        let v1_only = error.message.contains("needs cgroup v2");
        assert!(error.message.contains(word) || v1_only, "{error}");
        assert!(directories(&path).is_empty(), "{name}");
    }
    for path in ["", "/", "/../x", "a/./b"] {
        assert!(Cgroup::create(path, None).is_err(), "{path:?}");
    }
}

#[test]
fn pids_limit_holds() {
    if !usable() {
        return;
    }
    let group = Group::new("pids", r#"{"pids":{"limit":3}}"#);
    let mut child = group.run("for i in 1 2 3 4 5 6; do sleep 1 & done; wait; true");
    Group::go(&mut child);
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut most = 0;
    // A shell that cannot fork ends at once, maybe before the first look; what it has started stays for a second.
    loop {
        let ended = child.try_wait().unwrap().is_some();
        most = most.max(group.cgroup.stats().unwrap().pids_stats.current);
        if ended || Instant::now() > deadline {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    assert!((1..=3).contains(&most), "{most}");
}

#[test]
fn out_of_memory_is_noticed() {
    if !usable() {
        return;
    }
    let group = Group::new("oom", r#"{"memory":{"limit":20971520,"swap":20971520}}"#);
    let event = group.cgroup.oom_event_fd().unwrap();
    assert_eq!(group.cgroup.oom_kills(), 0);
    // A shell variable of 64 MiB.
    let mut child = group.run("x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo ${#x}");
    Group::go(&mut child);
    let mut fds = [PollFd::new(
        std::os::fd::AsFd::as_fd(&event),
        PollFlags::POLLIN,
    )];
    assert_eq!(poll(&mut fds, 60_000u16).unwrap(), 1);
    let _ = child.wait();
    assert!(group.cgroup.oom_kills() >= 1);
    let stats = group.cgroup.stats().unwrap();
    assert_eq!(stats.memory_stats.limit, 20_971_520);
    assert!(stats.oom_kills >= 1);
    assert!(stats.memory_stats.stats.len() > 10);
}

#[test]
fn quota_throttles_and_is_counted() {
    if !usable() {
        return;
    }
    let group = Group::new("quota", r#"{"cpu":{"quota":20000,"period":100000}}"#);
    let mut child = group.run("while :; do :; done");
    Group::go(&mut child);
    thread::sleep(Duration::from_millis(1000));
    let cpu = group.cgroup.stats().unwrap().cpu_stats;
    group.cgroup.kill_all().unwrap();
    child.wait().unwrap();
    assert!(cpu.throttling_data.throttled_periods >= 3, "{cpu:?}");
    let used = cpu.cpu_usage.total_usage;
    assert!((50_000_000..400_000_000).contains(&used), "{used}");
    assert!(cpu.online_cpus >= 1 && cpu.system_cpu_usage > used);
}

#[test]
fn frozen_processes_stand_still_and_die() {
    if !usable() {
        return;
    }
    let group = Group::new("freeze", "{}");
    let mut child = group.run("while :; do :; done");
    Group::go(&mut child);
    thread::sleep(Duration::from_millis(50));
    group.cgroup.freeze().unwrap();
    assert!(group.cgroup.is_frozen());
    let used = || {
        group
            .cgroup
            .stats()
            .unwrap()
            .cpu_stats
            .cpu_usage
            .total_usage
    };
    let before = used();
    thread::sleep(Duration::from_millis(100));
    assert!(used() - before < 2_000_000);
    group.cgroup.thaw().unwrap();
    assert!(!group.cgroup.is_frozen());
    thread::sleep(Duration::from_millis(100));
    assert!(used() - before > 10_000_000);
    group.cgroup.freeze().unwrap();
    group.cgroup.signal_all(Signal::SIGKILL).unwrap();
    assert_eq!(wait_for(&mut child), Some(9));
    assert!(group.cgroup.pids().unwrap().is_empty());
}

#[test]
fn killed_although_frozen_by_the_v1_freezer() {
    if !usable() {
        return;
    }
    let group = Group::new("v1freeze", "{}");
    let Some(state) = group.file("freezer", "freezer.state") else {
        return;
    };
    let mut child = group.run("sleep 100 & sleep 100; wait");
    Group::go(&mut child);
    fs::write(&state, "FROZEN").unwrap();
    group.cgroup.kill_all().unwrap();
    assert_eq!(wait_for(&mut child), Some(9));
}

#[test]
fn groups_below_are_counted_killed_and_removed() {
    if !usable() {
        return;
    }
    let group = Group::new("nested", "{}");
    let mut child = group.run("sleep 100 & sleep 100; wait");
    // What a container that manages its own groups does.
    for dir in directories(&group.path) {
        let below = dir.join("a/b");
        fs::create_dir_all(&below).unwrap();
        // v1 only: on v2 a group without the controller has no such file, and an empty one is fine.
        if below.join("cpuset.cpus").exists() {
            for level in [dir.join("a"), below.clone()] {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(level.join(file), fs::read(dir.join(file)).unwrap()).unwrap();
                }
            }
        }
        fs::write(below.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    Group::go(&mut child);
    thread::sleep(Duration::from_millis(50));
    assert!(group.cgroup.pids().unwrap().contains(&(child.id() as i32)));
    cgroup::destroy(&group.path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(wait_for(&mut child), Some(9));
    assert!(directories(&group.path).is_empty());
}

#[test]
fn devices() {
    if !usable() {
        return;
    }
    let group = Group::new(
        "devices",
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}]}"#,
    );
    let script = "cat /dev/null && ! cat /dev/zero | head -c 1 | grep -q . ; echo $?";
    let outcome = |script: &str| {
        let mut child = group.run(script);
        Group::go(&mut child);
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(outcome("(: </dev/null) && echo yes || echo no"), "yes");
    assert_eq!(outcome("(: </dev/zero) && echo yes || echo no"), "no");
    assert_eq!(outcome(script), "0");
    let update = r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":5,"access":"r"}]}"#;
    group
        .cgroup
        .update(&serde_json::from_str(update).unwrap())
        .unwrap();
    assert_eq!(outcome("(: </dev/zero) && echo yes || echo no"), "yes");
    assert_eq!(outcome("(: </dev/null) && echo yes || echo no"), "no");
}

#[test]
fn many_at_once_share_a_parent_that_comes_and_goes() {
    if !usable() {
        return;
    }
    let parent = format!("/pyd-limits-{}-race", std::process::id());
    thread::scope(|scope| {
        for worker in 0..4 {
            let parent = &parent;
            scope.spawn(move || {
                for round in 0..50 {
                    let path = format!("{parent}/{worker}-{round}");
                    let group = Cgroup::create(&path, None).unwrap();
                    let mut child = Command::new("/bin/cat")
                        .stdin(Stdio::piped())
                        .spawn()
                        .unwrap();
                    group.add(child.id() as i32).unwrap();
                    group.kill_all().unwrap();
                    child.wait().unwrap();
                    group.remove().unwrap();
                }
            });
        }
    });
    assert!(directories(&parent).is_empty());
}

/// Signal that ended the child, within five seconds.
fn wait_for(child: &mut Child) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    for _ in 0..500 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.signal();
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

#[test]
fn layout_names_existing_places() {
    if let Ok(layout) = Layout::detect() {
        for hierarchy in layout.v1.iter().chain(&layout.v2) {
            assert!(Path::new(&hierarchy.mountpoint).is_dir());
        }
    }
}
