"""A world of its own for one test session: network namespace, data-root, run-root, cgroup parent.

Nothing that the suite does touches the host's links, firewall, containers or Docker configuration. The
namespace is entered by this very process, so that the tests, the engine in it and every command that they
start share it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import tempfile
from pathlib import Path

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1

PREFIX = "pyd-test-"  # of the directories and cgroups of every session


class World:
    """Entered once, in the main thread, before anything else runs; `leave` removes the directories."""

    def __init__(self) -> None:
        self.host_network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.data_root = self.directory / "data"
        self.run_root = self.directory / "run"
        self.cgroup_parent = f"/{PREFIX}{os.getpid()}"
        docker = self.directory / "docker"
        docker.mkdir()
        os.environ.update(
            PYD_DATA_ROOT=str(self.data_root),
            PYD_RUN_ROOT=str(self.run_root),
            PYD_CGROUP_PARENT=self.cgroup_parent,
            # the user's own config.json would bring credentials, formats and proxies into the tests
            DOCKER_CONFIG=str(docker),
            NO_COLOR="1",
            COLUMNS="200",
        )
        for name in (
            "PYD_BRIDGE",
            "PYD_SUBNET",
            "DOCKER_HOST",
            "http_proxy",
            "HTTP_PROXY",
            "https_proxy",
            "HTTPS_PROXY",
        ):
            os.environ.pop(name, None)
        unshare_network()

    @property
    def host_prefix(self) -> list[str]:
        """A command prefix that runs a program in the host's network: for package mirrors and pip."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self.host_network}"]

    def cgroups(self) -> list[Path]:
        """Every directory that is left of the session's cgroups, in all hierarchies."""
        found = []
        for hierarchy in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]:
            top = hierarchy / self.cgroup_parent.strip("/")
            # os.walk passes over what a monitor removes meanwhile
            found += [Path(directory) for directory, _, _ in os.walk(top)]
        return found

    def leave(self) -> None:
        os.close(self.host_network)
        shutil.rmtree(self.directory, ignore_errors=True)


def unshare_network() -> None:
    """Moves this thread (and what it starts) into a new network namespace with loopback up."""
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare exists from Python 3.12 on
    if libc.unshare(CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"unshare(CLONE_NEWNET): {os.strerror(error)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
