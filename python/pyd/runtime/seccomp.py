"""--security-opt seccomp=FILE: a profile in Docker's format or in the runtime spec's, to linux.seccomp.

Docker's profiles (moby, profiles/seccomp) have rules with conditions on architecture, capabilities and
kernel; they are decided here for this container on this host.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from pyd.errors import InvalidArgument, from_os_error

_GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "x86", "riscv64": "riscv64"}
_SCMP_ARCH = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64", "riscv64": "SCMP_ARCH_RISCV64"}
_RULE_KEYS = ("action", "errnoRet", "args")


def load(path: str, capabilities: Collection[str]) -> dict[str, Any]:
    """The linux.seccomp object for a container with these capabilities."""
    try:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
    except OSError as error:
        raise from_os_error(error, f"opening seccomp profile ({path}) failed") from error
    except ValueError as error:
        raise InvalidArgument(f"Decoding seccomp profile failed: {path}: {error}") from error
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise InvalidArgument(f"Decoding seccomp profile failed: {path} has no defaultAction")
    return convert(profile, capabilities, os.uname().machine, os.uname().release)


def convert(
    profile: dict[str, Any], capabilities: Collection[str], machine: str, release: str
) -> dict[str, Any]:
    result: dict[str, Any] = {"defaultAction": profile["defaultAction"]}
    for key in ("defaultErrnoRet", "flags", "listenerPath", "listenerMetadata"):
        if key in profile:
            result[key] = profile[key]
    if profile.get("archMap"):
        if profile.get("architectures"):
            raise InvalidArgument("use either 'architectures' or 'archMap', not both")
        own = _SCMP_ARCH.get(machine)
        for entry in profile["archMap"]:
            if entry.get("architecture") == own:
                result["architectures"] = [own, *(entry.get("subArchitectures") or ())]
    elif profile.get("architectures"):
        result["architectures"] = profile["architectures"]
    result["syscalls"] = []
    for rule in profile.get("syscalls") or ():
        names = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
        if names and _applies(rule, capabilities, _GO_ARCH.get(machine, machine), release):
            kept = {key: rule[key] for key in _RULE_KEYS if rule.get(key) is not None}
            result["syscalls"].append({"names": names, **kept})
    return result


def _applies(rule: dict[str, Any], capabilities: Collection[str], arch: str, release: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if arch in (excludes.get("arches") or ()) or set(excludes.get("caps") or ()) & set(capabilities):
        return False
    if excludes.get("minKernel") and _version(release) >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and arch not in includes["arches"]:
        return False
    if not set(includes.get("caps") or ()) <= set(capabilities):
        return False
    return not includes.get("minKernel") or _version(release) >= _version(includes["minKernel"])


def _version(text: str) -> tuple[int, ...]:
    numbers = text.split("-")[0].split(".")[:2]
    return tuple(int(number) for number in numbers if number.isdigit())
