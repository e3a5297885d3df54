"""What a container engine may leave behind, named: mounts, cgroups, links, published ports, processes,
files.

`Snapshot.take` lists it, `Snapshot.leaked_since` names the difference. The bridge and the empty nftables
table of the default network stay on purpose, as Docker's docker0 does, and are not counted. A network
namespace lives as long as a process, a mount or a link of it, so those three stand for it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support.world import PREFIX, World

KEPT_LINKS = {"lo", "pyd0"}


@dataclass(frozen=True)
class Snapshot:
    mounts: frozenset[str]
    cgroups: frozenset[str]
    links: frozenset[str]
    published: frozenset[str]
    processes: frozenset[str]
    files: frozenset[str]

    @classmethod
    def take(cls, world: World) -> Snapshot:
        return cls(
            mounts=frozenset(_mounts(world)),
            cgroups=frozenset(str(path) for path in world.cgroups()),
            links=frozenset(name for _, name in socket.if_nameindex() if name not in KEPT_LINKS),
            published=frozenset(_nft_elements()),
            processes=frozenset(_processes(world)),
            files=frozenset(_files(world)),
        )

    def leaked_since(self, before: Snapshot) -> list[str]:
        leaks = []
        for kind in fields(self):
            new = getattr(self, kind.name) - getattr(before, kind.name)
            leaks += [f"{kind.name}: {name}" for name in sorted(new)]
        return leaks


def _mounts(world: World) -> list[str]:
    """Mounts in this namespace that belong to the session: below its directory, or a namespace kept alive."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, kind = line.split()[4], line.split(" - ")[1].split()[0]
        of_another = f"/{PREFIX}" in line  # a session beside this one: another worker of pytest-xdist
        if str(world.directory) in line or (kind == "nsfs" and not of_another):
            found.append(f"{place} ({kind})")
    return found


def _nft_elements() -> list[str]:
    """Published ports are elements of maps; the maps and the chains around them stay."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if not nft or os.geteuid() != 0:
        return []
    done = subprocess.run([nft, "list", "ruleset"], capture_output=True, text=True, check=False)
    blocks = re.findall(r"elements = \{([^}]*)\}", done.stdout)
    return [element.strip() for block in blocks for element in block.split(",")]


def _processes(world: World) -> list[str]:
    """Every process of pyd that serves this session, by its command line or its cgroup."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            cgroups = (directory / "cgroup").read_text()
        except OSError:
            continue
        ours = str(world.directory) in command and "pyd-runtime" in command
        if ours or f"{world.cgroup_parent}/" in cgroups:
            found.append(f"{directory.name} {command.strip()}")
    return found


def _files(world: World) -> list[str]:
    """Files that belong to containers and transfers; images and volumes are the store's own and may stay."""
    places = [
        world.run_root / "containers",
        world.data_root / "containers",
        world.data_root / "ingest",
        world.data_root / "trash",
    ]
    found = []
    for place in places:
        if place.is_dir():
            found += [str(path) for path in place.iterdir()]
    return found
