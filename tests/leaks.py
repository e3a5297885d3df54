"""What a container engine may leave behind, named: mounts, cgroups, namespaces, links, rules, processes,
files.

`Snapshot.take` lists it, `Snapshot.leaked_since` names the difference. The bridge and the empty nftables
table of the default network stay on purpose, as Docker's docker0 does, and are not counted.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support.world import World

KEPT_LINKS = {"lo", "pyd0"}


@dataclass(frozen=True)
class Snapshot:
    mounts: frozenset[str]
    cgroups: frozenset[str]
    network_namespaces: frozenset[str]
    links: frozenset[str]
    nft_rules: frozenset[str]
    processes: frozenset[str]
    files: frozenset[str]

    @classmethod
    def take(cls, world: World) -> Snapshot:
        return cls(
            mounts=frozenset(_mounts()),
            cgroups=frozenset(str(path) for path in world.cgroups()),
            network_namespaces=frozenset(_network_namespaces()),
            links=frozenset(name for _, name in socket.if_nameindex() if name not in KEPT_LINKS),
            nft_rules=frozenset(_nft_rules()),
            processes=frozenset(_processes(world)),
            files=frozenset(_files(world)),
        )

    def leaked_since(self, before: Snapshot) -> list[str]:
        leaks = []
        for kind in fields(self):
            new = getattr(self, kind.name) - getattr(before, kind.name)
            leaks += [f"{kind.name}: {name}" for name in sorted(new)]
        return leaks


def _mounts() -> list[str]:
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"{line.split()[4]} ({line.split(' - ')[1].split()[0]})" for line in table]


def _network_namespaces() -> set[str]:
    """Namespaces held by a process; one held by nothing but an open file would show in `processes`."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            found.add(str((directory / "ns/net").readlink()))
        except OSError:
            continue
    return found


def _nft_rules() -> list[str]:
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if not nft or os.geteuid() != 0:
        return []
    done = subprocess.run([nft, "--handle", "list", "ruleset"], capture_output=True, text=True, check=False)
    # of a per-container rule, what names a port or an address in it; chains and the masquerading of the
    # subnet stay
    return [line.strip() for line in done.stdout.splitlines() if "dnat" in line or "dport" in line]


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
        Path("/dev/shm"),
    ]
    found = []
    for place in places:
        if place.is_dir():
            found += [str(path) for path in place.iterdir()]
    return found
