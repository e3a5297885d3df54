"""Devices of a container: `--device`, `--device-cgroup-rule`, and all of the host's for `--privileged`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence

from pyd.errors import InvalidArgument
from pyd.runtime import defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RULE = r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})"
# What the container has of its own
_OWN = frozenset(("pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", "ptmx", ".udev"))


def parse(text: str) -> dict[str, str]:
    """HOST[:CONTAINER][:PERMISSIONS] to Docker's {PathOnHost, PathInContainer, CgroupPermissions}."""
    parts = text.split(":")
    permissions = "rwm"
    if len(parts) > 1 and re.fullmatch(r"[rwm]{1,3}", parts[-1]) and not parts[-1].startswith("/"):
        permissions = parts.pop()
    if not 1 <= len(parts) <= 2 or not parts[0]:
        raise InvalidArgument(f"invalid device specification: {text}")
    target = parts[1] if len(parts) == 2 and parts[1] else parts[0]
    if not target.startswith("/"):
        raise InvalidArgument(
            f"invalid device mode: {parts[-1]}" if len(parts) == 2 else f"bad format for path: {text}"
        )
    return {"PathOnHost": parts[0], "PathInContainer": target, "CgroupPermissions": permissions}


def check_rule(text: str) -> str:
    if not re.fullmatch(_RULE, text):
        raise InvalidArgument(f'invalid device cgroup format "{text}": expected e.g. "c 1:3 rwm"')
    return text


def linux_devices(
    devices: Sequence[Mapping[str, str]], rules: Sequence[str], privileged: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(linux.devices, linux.resources.devices)."""
    if privileged:
        everything = [{"allow": True, "access": "rwm"}]
        return [_node(path, path, found) for path, found in _host_devices("/dev")], everything
    nodes: list[dict[str, Any]] = []
    allowed = defaults.device_rules()
    for device in devices:
        for node in _expand(device["PathOnHost"], device["PathInContainer"]):
            nodes.append(node)
            allowed.append(
                {
                    "allow": True,
                    "type": node["type"],
                    "major": node["major"],
                    "minor": node["minor"],
                    "access": device["CgroupPermissions"],
                }
            )
    for text in rules:
        match = re.fullmatch(_RULE, text)
        assert match is not None  # check_rule ran when the container was created
        rule: dict[str, Any] = {"allow": True, "type": match[1], "access": match[4]}
        for key, value in (("major", match[2]), ("minor", match[3])):
            if value != "*":
                rule[key] = int(value)
        allowed.append(rule)
    return nodes, allowed


def _expand(source: str, target: str) -> Iterator[dict[str, Any]]:
    """The device itself, or every device below a directory."""
    try:
        found = os.stat(source)
    except OSError as error:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": '
            f"{os.strerror(error.errno or 0).lower()}",
            "check the path of --device on the host",
        ) from error
    if stat.S_ISDIR(found.st_mode):
        for path, one in _host_devices(source):
            yield _node(target + path[len(source) :], path, one)
    elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        yield _node(target, source, found)
    else:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": not a device node',
            "use -v to mount a file or directory",
        )


def _host_devices(directory: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if directory == "/dev" and entry.name in _OWN:
            continue
        try:
            found = entry.stat(follow_symlinks=False)
        except OSError:
            continue  # unplugged meanwhile
        if stat.S_ISDIR(found.st_mode):
            yield from _host_devices(entry.path)
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            yield entry.path, found


def _node(target: str, source: str, found: os.stat_result) -> dict[str, Any]:
    return {
        "path": target,
        "type": "c" if stat.S_ISCHR(found.st_mode) else "b",
        "major": os.major(found.st_rdev),
        "minor": os.minor(found.st_rdev),
        "fileMode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
