"""Which capabilities a container gets (Docker's rules: moby, oci/caps/utils.go)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pyd.errors import InvalidArgument
from pyd.runtime import defaults

# In the order of linux/capability.h: the index is the bit in /proc/self/status
NAMES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
        "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
        "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
        "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
        "PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)


@cache
def bounding() -> frozenset[str]:
    """What this process may hand on at all: its bounding set."""
    with open("/proc/self/status", "rb") as file:
        for line in file:
            if line.startswith(b"CapBnd:"):
                bits = int(line.split()[1], 16)
                return frozenset(name for bit, name in enumerate(NAMES) if bits >> bit & 1)
    return frozenset(NAMES)


def normalize(names: Sequence[str], option: str) -> list[str]:
    """Upper case with CAP_; "ALL" stays. Raises InvalidArgument for a name that the kernel does not have."""
    result = []
    for name in names:
        upper = name.strip().upper()
        if upper != "ALL" and not upper.startswith("CAP_"):
            upper = "CAP_" + upper
        if upper not in ("ALL", "CAP_ALL") and upper not in NAMES:
            raise InvalidArgument(f'invalid {option}: unknown capability: "{upper}"')
        result.append("ALL" if upper == "CAP_ALL" else upper)
    return result


def select(add: Sequence[str], drop: Sequence[str], privileged: bool) -> list[str]:
    """The capabilities asked for, before the host's bounding set takes its part."""
    if privileged:
        return list(NAMES)
    added, dropped = normalize(add, "CapAdd"), normalize(drop, "CapDrop")
    if "ALL" in added:
        return [name for name in NAMES if name not in dropped]
    if "ALL" in dropped:
        return list(dict.fromkeys(added))
    kept = [name for name in defaults.CAPABILITIES if name not in dropped]
    return kept + [name for name in dict.fromkeys(added) if name not in kept]
