"""Debian's dockerd and containerd in a world of their own, with pyd-runtime as their runtime.

They get their own network, mount and pid namespaces, directories and cgroup: nothing of the machine's
Docker is read or written, and the end of the pid namespace ends every daemon, shim and container whatever
a test did.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyd
from tests.support.command import Result, Terminal, find_program, run_client, wait_until
from tests.support.registry import skopeo

RUNTIME = Path(os.environ.get("PYD_RUNTIME") or Path(str(pyd.__file__)).parent / "_bin/pyd-runtime")

# Shims put their sockets into /run/containerd/s, dockerd looks for plugins in /run/docker, podman keeps locks
# in /dev/shm and a cache in /var/lib/containers, whatever directories they were given.
PRIVATE = """set -e
mkdir -p /var/lib/containers
for place in /run /dev/shm /var/lib/containers; do mount -t tmpfs tmpfs $place; done
mkdir -p /run/lock /run/containerd
ip link set lo up
"""


class Daemon:
    """A shell in new namespaces that starts a daemon and reaps what it leaves; `close` ends everything.

    Without `own_network` it stays in the network of this process, where its servers are.
    """

    def __init__(self, directory: Path, command: list[str], *, own_network: bool = True) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        # the loop reaps orphans, as the first process of a pid namespace has to
        script = f"{PRIVATE}{shlex.join(command)} &\nwhile :; do wait; sleep 0.2; done\n"
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(
            [
                *("unshare", *["--net"] * own_network, "--mount", "--pid"),
                *("--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", script),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.init = int(wait_until(lambda: children.read_text().split(), 5, "the pid namespace")[0])

    def enter(self, *command: str) -> list[str]:
        """The command line that runs `command` in these namespaces."""
        return ["nsenter", f"--target={self.init}", "--net", "--mount", "--pid", "--", *command]

    def sh(self, script: str) -> str:
        """What a shell in these namespaces prints."""
        done = subprocess.run(
            self.enter("sh", "-c", script), capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout + done.stderr

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def close(self, cgroup_parent: str) -> None:
        os.kill(self.init, signal.SIGKILL)
        self._process.wait(20)
        self._log.close()
        remove_cgroups(cgroup_parent)
        shutil.rmtree(self.directory, ignore_errors=True)


def remove_cgroups(parent: str) -> None:
    """Removes what daemons that were killed have left of their cgroups, once their processes have ended."""
    until = time.monotonic() + 5
    for top in [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]:
        for directory, _, _ in os.walk(top / parent.strip("/"), topdown=False):
            while Path(directory).exists():
                try:
                    os.rmdir(directory)
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)
        with contextlib.suppress(OSError):  # others may use it
            os.rmdir(top / parent.strip("/").split("/")[0])


class Docker:
    """A Docker daemon with a bridge in its own network namespace. `docker(...)` runs the client.

    Without `own_network` it shares that of this process, and makes no bridge there.
    """

    def __init__(self, directory: Path, cgroup_parent: str, *options: str, own_network: bool = True) -> None:
        daemon = find_program("dockerd")
        # the client of the daemon's own package: another one on the PATH may be too new for it
        client = find_program("/usr/bin/docker", "docker")
        assert daemon and client, "docker.io is not installed (sh tests/setup.sh)"
        self.client = client
        self.cgroup_parent = cgroup_parent
        self.socket = directory / "docker.sock"
        self.exec_root = directory / "exec"
        self._terminals: list[Terminal] = []
        network = ["--bip", "10.213.0.1/24"] if own_network else ["--bridge", "none"]
        # it starts a containerd of its own, below its own directories
        self.daemon = Daemon(
            directory,
            [
                *(daemon, "--host", f"unix://{self.socket}", "--data-root", str(directory / "data")),
                *("--exec-root", str(self.exec_root), "--pidfile", str(directory / "docker.pid")),
                *("--iptables=false", "--ip6tables=false", "--ip-masq=false", *network),
                *("--cgroup-parent", cgroup_parent, "--exec-opt", "native.cgroupdriver=cgroupfs"),
                *("--add-runtime", f"pyd={RUNTIME}", *options),
            ],
            own_network=own_network,
        )
        try:
            wait_until(lambda: self("version", code=None).code == 0, 30)
        except AssertionError:
            log = self.daemon.log
            self.close()
            raise AssertionError(f"dockerd did not start: {log}") from None

    def command(self, *args: object) -> list[str]:
        return [self.client, "--host", f"unix://{self.socket}", *(str(arg) for arg in args)]

    def __call__(
        self, *args: object, code: int | None = 0, input: str | None = None, timeout: float = 60
    ) -> Result:
        __tracebackhide__ = True
        return run_client(
            "docker",
            self.command(*args),
            code=code,
            input=input,
            timeout=timeout,
            env=os.environ | {"DOCKER_BUILDKIT": "0"},
            shown=args,
        )

    def terminal(self, *args: object) -> Terminal:
        terminal = Terminal(self.command(*args))
        self._terminals.append(terminal)
        return terminal

    def inspect(self, name: str) -> Any:
        return json.loads(self("inspect", name).stdout)[0]

    def state(self, name: str) -> Any:
        return self.inspect(name)["State"]

    def load(self, layout: Path, name: str) -> None:
        """Imports the image of an OCI layout."""
        archive = self.daemon.directory / f"{name}.tar"
        skopeo("copy", "--quiet", f"oci:{layout}:latest", f"docker-archive:{archive}:{name}:latest")
        self("load", "--quiet", "--input", archive)
        archive.unlink()

    def remove_containers(self) -> None:
        for terminal in self._terminals:
            terminal.end()
        self._terminals.clear()
        ids = self("ps", "-aq").stdout.split()
        if ids:
            self("rm", "-f", "-v", *ids)

    def close(self) -> None:
        self.daemon.close(self.cgroup_parent)
