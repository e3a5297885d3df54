"""What is in a tar, in a form that two engines can be compared by."""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO

# made or filled by the engines themselves
OWN = (
    *("dev", "proc", "sys", "run", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"),
    *(".dockerenv", "etc", "run/.containerenv", "run/secrets"),
)
CAPABILITY = "SCHILY.xattr.security.capability"


def picture(source: BinaryIO) -> dict[str, str]:
    """Everything about every entry, by name; times to the second, since Docker's archives have no more."""
    found: dict[str, str] = {}
    with tarfile.open(fileobj=source, mode="r|*") as tar:
        first: dict[str, str] = {}
        for member in tar:
            name = member.name.removeprefix("./").rstrip("/")
            if name in ("", ".") or name in OWN or name.startswith(("dev/", "proc/", "sys/")):
                continue
            content = ""
            if member.isreg():
                opened = tar.extractfile(member)
                assert opened
                content = hashlib.sha256(opened.read()).hexdigest()
            if member.islnk():
                # which of the names comes first is the packer's choice
                found[name] = found[member.linkname.removeprefix("./")]
                first[name] = member.linkname
                continue
            capability = member.pax_headers.get(CAPABILITY, "")
            found[name] = (
                f"{member.type!r} {member.mode & 0o7777:o} {member.uid}:{member.gid} {member.size} "
                f"{int(member.mtime)} {member.linkname} {member.devmajor}:{member.devminor} {content} "
                f"{capability!r}"
            )
        groups: dict[str, set[str]] = {}
        for name, target in first.items():
            groups.setdefault(target.removeprefix("./"), set()).add(name)
        for target, names in groups.items():
            same = sorted({target, *names})
            for name in same:
                found[name] += f" one file: {same}"
    return found


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return [
        f"{name}: {one.get(name)} / {other.get(name)}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
