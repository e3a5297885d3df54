//! What the generated cases are judged by.

/// Fields without which a spec means nothing. Of the others each may be absent.
pub const REQUIRED: &[&str] = &[
    "ociVersion",
    "root",
    "root.path",
    "mounts[].destination",
    "mounts[].uidMappings[].containerID",
    "mounts[].uidMappings[].hostID",
    "mounts[].uidMappings[].size",
    "mounts[].gidMappings[].containerID",
    "mounts[].gidMappings[].hostID",
    "mounts[].gidMappings[].size",
    "process",
    "process.args",
    "process.cwd",
    "process.consoleSize.height",
    "process.consoleSize.width",
    "process.user",
    "process.user.uid",
    "process.user.gid",
    "process.rlimits[].type",
    "process.rlimits[].soft",
    "process.rlimits[].hard",
    "process.ioPriority.class",
    "process.ioPriority.priority",
    "process.scheduler.policy",
    "hooks.prestart[].path",
    "linux.namespaces[].type",
    "linux.uidMappings[].containerID",
    "linux.uidMappings[].hostID",
    "linux.uidMappings[].size",
    "linux.devices[].path",
    "linux.devices[].type",
    "linux.devices[].major",
    "linux.personality.domain",
    "linux.memoryPolicy.mode",
    "linux.seccomp.defaultAction",
    "linux.seccomp.syscalls[].names",
    "linux.seccomp.syscalls[].action",
    "linux.seccomp.syscalls[].args[].index",
    "linux.seccomp.syscalls[].args[].value",
    "linux.seccomp.syscalls[].args[].op",
    "linux.resources.blockIO.throttleReadBpsDevice[].major",
    "linux.resources.blockIO.throttleReadBpsDevice[].rate",
    "linux.resources.hugepageLimits[].pageSize",
];

/// Path (`[]` for any index), kinds of wrongness, and why that is taken.
pub const ACCEPTED: &[(&str, &[&str], &str)] = &[
    (
        "annotations.org.example.key",
        ANY_TEXT,
        "free text of the engine's",
    ),
    (
        "hooks.prestart[].args[]",
        ANY_TEXT,
        "arguments of a program mean what the program says",
    ),
    (
        "process.args[1]",
        ANY_TEXT,
        "arguments of a program mean what the program says",
    ),
    (
        "process.args[0]",
        TEXT,
        "a program is looked for in the container",
    ),
    (
        "linux.resources.unified.memory.high",
        ANY_TEXT,
        "the kernel knows what its file takes",
    ),
    (
        "linux.sysctl.net.ipv4.ip_forward",
        TEXT,
        "the kernel knows what its parameter takes",
    ),
    (
        "mounts[0].options[0]",
        ANY_TEXT,
        "options of a filesystem are the filesystem's",
    ),
    (
        "mounts[1].options[1]",
        &["empty"],
        "an empty option asks for nothing",
    ),
    (
        "mounts[1].options[2]",
        &["empty"],
        "an empty option asks for nothing",
    ),
    (
        "mounts[0].source",
        ANY_TEXT,
        "of a filesystem without a device only a name",
    ),
    (
        "mounts[1].source",
        TEXT,
        "a relative source is meant from the bundle",
    ),
    (
        "mounts[0].type",
        TEXT,
        "the kernel knows which filesystems it has",
    ),
    (
        "mounts[1].type",
        ANY_TEXT,
        "the options alone make a bind mount, as for runc",
    ),
    (
        "mounts[].destination",
        TEXT,
        "a relative destination is deprecated, and meant from /",
    ),
    ("root.path", TEXT, "relative to the bundle"),
    ("hostname", ANY_TEXT, "any name; an empty one is none"),
    ("domainname", ANY_TEXT, "any name; an empty one is none"),
    (
        "linux.cgroupsPath",
        ANY_TEXT,
        "a relative path is the runtime's to interpret; an empty one is none",
    ),
    (
        "linux.intelRdt.closID",
        ANY_TEXT,
        "any name of a class; an empty one is none",
    ),
    (
        "linux.netDevices.eth9.name",
        ANY_TEXT,
        "any name of a device; an empty one is that of the host",
    ),
    (
        "linux.intelRdt.l3CacheSchema",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.intelRdt.memBwSchema",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.mountLabel",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.namespaces[].path",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.resources.cpu.cpus",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.resources.cpu.mems",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.rootfsPropagation",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "process.apparmorProfile",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "process.selinuxLabel",
        &["empty"],
        "an empty text is none, as Go programs write it",
    ),
    (
        "linux.resources.devices[0].access",
        &["empty"],
        "a denial without letters denies everything",
    ),
    (
        "linux.resources.network.priorities[].name",
        TEXT,
        "whether there is such an interface, the kernel knows",
    ),
    (
        "linux.seccomp.listenerPath",
        TEXT,
        "relative to the working directory, as for every socket",
    ),
    (
        "linux.seccomp.listenerMetadata",
        &["text", "empty", "nul"],
        "opaque text for the agent, sent as JSON",
    ),
    (
        "linux.seccomp.syscalls[].names[]",
        TEXT,
        "names of other kernels' calls are passed over, as by libseccomp",
    ),
    (
        "linux.seccomp.syscalls[].args[].value",
        WIDE,
        "an argument has 64 bits",
    ),
    (
        "linux.seccomp.syscalls[].args[].valueTwo",
        WIDE,
        "an argument has 64 bits",
    ),
    (
        "linux.resources.blockIO.throttleReadBpsDevice[].rate",
        WIDE,
        "a rate has 64 bits",
    ),
    (
        "linux.resources.blockIO.throttleWriteBpsDevice[].rate",
        WIDE,
        "a rate has 64 bits",
    ),
    (
        "linux.resources.blockIO.throttleReadIOPSDevice[].rate",
        WIDE,
        "a rate has 64 bits",
    ),
    (
        "linux.resources.blockIO.throttleWriteIOPSDevice[].rate",
        WIDE,
        "a rate has 64 bits",
    ),
    ("process.rlimits[].hard", WIDE, "a limit has 64 bits"),
    (
        "hooks.prestart[].timeout",
        &["2^32"],
        "a long time, but a time",
    ),
    ("process.scheduler.period", &["2^32"], "four seconds"),
    (
        "linux.resources.cpu.realtimePeriod",
        &["2^32"],
        "an hour; whether the parent group grants it, the kernel knows",
    ),
    ("linux.resources.cpu.realtimeRuntime", &["-1"], "no limit"),
    (
        "linux.resources.cpu.quota",
        &["-1", "-2", "2^32"],
        "any negative quota is no limit, as for the kernel",
    ),
    (
        "linux.timeOffsets.monotonic.secs",
        &["-1", "-2", "2^32"],
        "clocks may be behind, and 136 years ahead",
    ),
    (
        "linux.resources.devices[].major",
        &["-1"],
        "every number, as engines write it",
    ),
    (
        "linux.resources.devices[].minor",
        &["-1"],
        "every number, as engines write it",
    ),
    (
        "linux.resources.hugepageLimits[].limit",
        &["2^32"],
        "4 GiB of huge pages",
    ),
    (
        "linux.resources.memory.kernel",
        &["-1", "2^32"],
        "deprecated, passed over as by every runtime",
    ),
    (
        "linux.resources.memory.kernelTCP",
        &["-1", "2^32"],
        "no limit; 4 GiB",
    ),
    (
        "linux.resources.memory.reservation",
        &["-1", "2^32"],
        "no limit; 4 GiB",
    ),
    (
        "linux.resources.memory.swap",
        &["-1", "2^32"],
        "no limit; 4 GiB",
    ),
    (
        "linux.resources.pids.limit",
        &["-1", "-2"],
        "no limit, as for runc",
    ),
    (
        "process.oomScoreAdj",
        &["-1", "-2"],
        "scores may be negative",
    ),
    (
        "process.scheduler.nice",
        &["-1", "-2"],
        "nice values may be negative",
    ),
];

const TEXT: &[&str] = &["text"];
const ANY_TEXT: &[&str] = &["text", "empty"];
const WIDE: &[&str] = &["2^32", "2^63"];

/// Fields that the specification requires and whose absence does no harm.
pub const LENIENT: &[(&str, &str)] = &[
    ("linux.devices[].minor", "read as 0, as runc does"),
    ("linux.resources.devices[].allow", "read as a denial"),
    ("linux.resources.pids.limit", "no limit"),
    (
        "linux.resources.rdma.mlx5_0.hcaHandles",
        "the other limit is there",
    ),
];
