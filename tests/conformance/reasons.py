"""Why a validation program is not content with pyd-runtime although pyd-runtime is right: reviewed one by
one.

A problem that matches nothing here is one of pyd-runtime's until somebody has looked at it.
"""

from __future__ import annotations

import re

REASONS: list[tuple[str, str]] = [
    (
        r"delete: attempting to `delete` a container that is not `stopped`",
        """Deliberate: of a container that is created but not started, `delete` works, as runc's and crun's
        does: containerd calls it so (without --force) when a start was given up. Of a running one it is
        refused.""",
    ),
    (
        r"hooks: Hooks MUST be called in the listed order",
        """The program's own bug: RuntimeLifecycleValidate removes the bundle, and the output of the hooks in
        it, before main reads it; and were it there, main would call Error() of a nil error. The order is
        tested by rust/runtime/tests/lifecycle.rs.""",
    ),
    (
        r"hooks_stdin: the state .* \"prestart\" hook",
        """Outdated: since spec 1.1 prestart hooks are part of `create`, so that the state they get is
        "creating" (runtime.md, Lifecycle); the program wants "created".""",
    ),
    (
        r"prestart: Pre-start hooks MUST be called after the `start` operation",
        """Outdated: since spec 1.1 they MUST be called as part of the `create` operation (config.md,
        Prestart).""",
    ),
    (
        r"linux_cgroups(_relative)?_blkio: .*leaf_weight",
        """Outdated: blkio.leaf_weight went with the CFQ scheduler in Linux 5.0. What was asked for and cannot
        be had is an error, of runc's too.""",
    ),
    (
        r"linux_cgroups(_relative)?_hugetlb: .*the hugetlb controller is not",
        """This machine: its hugetlb controller is on no v1 hierarchy, and the program knows no v2.""",
    ),
    (
        r"linux_cgroups(_relative)?_network: .*the net_cls controller is not",
        """This machine: net_cls and net_prio are mounted nowhere.""",
    ),
    (
        r"linux_cgroups(_relative)?_memory: memory kernel is set correctly",
        """Outdated: Linux ignores memory.kmem.limit_in_bytes since 5.16, and the spec calls it
        deprecated.""",
    ),
    (
        r"linux_mount_label: .*this kernel has no SELinux",
        """This machine: its kernel runs no SELinux.""",
    ),
    (
        r"linux_process_apparmor_profile: .*this kernel has no AppArmor",
        """This machine: its kernel has no AppArmor (and the program never loads the profile it asks for).""",
    ),
    (
        r"linux_ns_itype: .*mounts: need a mount namespace",
        """Deliberate: the program asks for mounts without a mount namespace. They would appear on the host
        and stay there: with runc the program then removes its bundle through the host's /proc and /dev.""",
    ),
    (
        r"misc_props: .*unknown annotation key",
        """The program's own bug: its first bundle runs /runtimetest, which it never put there.""",
    ),
    (
        r"process_capabilities: expected \w+ capability CAP_SYS_RESOURCE set",
        """This machine: its bounding set has no CAP_SYS_RESOURCE. Spec 1.1 wants a warning and a container
        without it; runc 1.1.5 fails.""",
    ),
    (
        r"process_capabilities_fail: exit 1: ",
        """Outdated: since spec 1.1 a capability that cannot be mapped MUST be logged as a warning and SHOULD
        NOT be a failure (config.md, Linux Process); the program wants an error.""",
    ),
    (
        r"process_rlimits: has expected soft RLIMIT_NOFILE",
        """The program's own bug: Go programs raise their soft RLIMIT_NOFILE when they start (since Go 1.19),
        and the one that looks is a Go program.""",
    ),
    (
        r"start: exit status",
        """Its check of a container without `process` is inverted (it wants `start` to succeed, and its
        message says that it must not); pyd-runtime refuses at `create`, as runc does.""",
    ),
    (
        r"poststart: The post-start hooks MUST be called after the user-specified process is executed",
        """The program's own race: it compares what a hook and the container's process write, and both are
        shells that are just starting; the process was executed first. Each runtime may try five times.""",
    ),
    (
        r"pidfile: create with '--pid-file' option works",
        """The program's own race: it wants to kill `true` while that runs. Passes when `state` is
        quicker.""",
    ),
]


def explain(problem: str) -> str:
    """The reviewed reason for a problem ("program: text"), or ""."""
    for pattern, why in REASONS:
        if re.match(pattern, problem):
            return " ".join(why.split())
    return ""
