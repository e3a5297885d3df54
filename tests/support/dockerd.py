"""Debian's dockerd and containerd in a world of their own, with pyd-runtime as their runtime.

They get their own network, mount and pid namespaces, directories and cgroup: nothing of the machine's Docker is
read or written, and the end of the pid namespace ends every daemon, shim and container whatever a test did.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyd
from tests.support.command import Result, Terminal, find_program, wait_until

RUNTIME = Path(os.environ.get("PYD_RUNTIME") or Path(str(pyd.__file__)).parent / "_bin/pyd-runtime")

# Shims put their sockets into /run/containerd/s and dockerd looks for plugins in /run/docker, whatever directories
# they were given.
PRIVATE_RUN = """set -e
mkdir -p /run/containerd /run/docker
mount -t tmpfs tmpfs /run/containerd
mount -t tmpfs tmpfs /run/docker
ip link set lo up
"""


class Daemons:
    """A shell in new namespaces that starts daemons and reaps what they leave; `close` ends everything."""

    def __init__(self, directory: Path, commands: list[list[str]], env: dict[str, str] | None = None) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        lines = [f"{shlex.join(command)} &" for command in commands]
        # the loop reaps orphans, as the first process of a pid namespace has to
        script = PRIVATE_RUN + "\n".join(lines) + "\nwhile :; do wait; sleep 0.2; done\n"
        self._log = (directory / "log").open("w")
        self._process = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", script),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | (env or {}),
        )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.init = int(wait_until(lambda: children.read_text().split(), 5, "the pid namespace")[0])

    def enter(self, *command: str) -> list[str]:
        """The command line that runs `command` in these namespaces."""
        return ["nsenter", f"--target={self.init}", "--net", "--mount", "--pid", *command]

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def close(self) -> None:
        os.kill(self.init, signal.SIGKILL)
        self._process.wait(20)
        self._log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def remove_cgroups(parent: str) -> None:
    """Removes what daemons that were killed have left of their cgroups, once their processes have ended."""
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]
    until = time.monotonic() + 5
    for top in tops:
        for directory, _, _ in os.walk(top / parent.strip("/"), topdown=False):
            while True:
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.02)


class Dockerd:
    """A Docker daemon with a bridge in its own network namespace. `docker(...)` runs the client."""

    def __init__(self, directory: Path, cgroup_parent: str, *options: str) -> None:
        daemon = find_program("dockerd")
        self.client = next((path for path in ("/usr/bin/docker",) if Path(path).exists()), None) or find_program("docker")
        assert daemon and self.client, "docker.io is not installed (sh tests/setup.sh)"
        self.cgroup_parent = cgroup_parent
        self.socket = directory / "docker.sock"
        self.exec_root = directory / "exec"
        command = [
            *(daemon, "--host", f"unix://{self.socket}", "--data-root", str(directory / "data")),
            *("--exec-root", str(self.exec_root), "--pidfile", str(directory / "docker.pid")),
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bip", "10.213.0.1/24"),
            *("--cgroup-parent", cgroup_parent, "--exec-opt", "native.cgroupdriver=cgroupfs"),
            *("--add-runtime", f"pyd={RUNTIME}", *options),
        ]
        # the daemon starts its containerd by itself, below its own directories
        self.daemons = Daemons(directory, [command])
        try:
            wait_until(lambda: self("version", code=None).code == 0, 30, f"dockerd: {self.log}")
        except AssertionError:
            self.close()
            raise
        self._terminals: list[Terminal] = []

    @property
    def log(self) -> str:
        return self.daemons.log

    def command(self, *args: object) -> list[str]:
        return [str(self.client), "--host", f"unix://{self.socket}", *(str(arg) for arg in args)]

    def __call__(
        self, *args: object, code: int | None = 0, input: str | None = None, timeout: float = 60
    ) -> Result:
        __tracebackhide__ = True
        command = self.command(*args)
        done = subprocess.run(
            command,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=os.environ | {"DOCKER_BUILDKIT": "0"},
            check=False,
        )
        result = Result(("docker", *command[3:]), done.returncode, done.stdout, done.stderr)
        assert code is None or result.code == code, result
        return result

    def terminal(self, *args: object) -> Terminal:
        terminal = Terminal(self.command(*args))
        self._terminals.append(terminal)
        return terminal

    def inspect(self, name: str) -> Any:
        return json.loads(self("inspect", name).stdout)[0]

    def state(self, name: str) -> Any:
        return self.inspect(name)["State"]

    def remove_containers(self) -> None:
        for terminal in self._terminals:
            terminal.end()
        self._terminals.clear()
        ids = self("ps", "-aq").stdout.split()
        if ids:
            self("rm", "-f", "-v", *ids)

    def close(self) -> None:
        self.daemons.close()
        remove_cgroups(self.cgroup_parent)
