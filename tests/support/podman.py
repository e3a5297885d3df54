"""podman in a world of its own (see dockerd.py), with pyd-runtime as its runtime."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.support.command import Result, Terminal, find_program, run_client
from tests.support.dockerd import RUNTIME, Daemon
from tests.support.registry import skopeo

# podman asks a runtime for its messages as JSON only if its name is listed; without, they are on stderr,
# which for a container's start is the container's own
CONFIG = """[engine]
runtime = "pyd"
runtime_supports_json = ["pyd"]
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
pyd = ["{runtime}"]
"""


class Podman:
    """`podman(...)` runs the command in namespaces that end together with what it left."""

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        program = find_program("podman")
        assert program, "podman is not installed (sh tests/setup.sh)"
        self.program = program
        self.cgroup_parent = cgroup_parent
        self.directory = directory
        self._terminals: list[Terminal] = []
        # nothing to serve: each command is a process of its own
        self.daemon = Daemon(directory, ["sleep", "infinity"])
        self.config = directory / "containers.conf"
        self.config.write_text(CONFIG.format(runtime=RUNTIME))

    @property
    def environment(self) -> dict[str, str]:
        # DOCKER_CONFIG names a directory without the file that podman then insists on
        kept = {name: value for name, value in os.environ.items() if name != "DOCKER_CONFIG"}
        return kept | {"CONTAINERS_CONF": str(self.config)}

    def command(self, *args: object) -> list[str]:
        places = {"--root": "root", "--runroot": "run", "--tmpdir": "tmp"}
        options = [word for option, name in places.items() for word in (option, str(self.directory / name))]
        return self.daemon.enter(self.program, *options, *(str(arg) for arg in args))

    def __call__(
        self, *args: object, code: int | None = 0, input: str | None = None, timeout: float = 60
    ) -> Result:
        __tracebackhide__ = True
        return run_client(
            "podman",
            self.command(*args),
            code=code,
            input=input,
            timeout=timeout,
            env=self.environment,
            shown=args,
        )

    def run(self, *args: object, code: int = 0, input: str | None = None) -> Result:
        return self("run", *self.place, *args, code=code, input=input)

    @property
    def place(self) -> tuple[str, ...]:
        """Options of every container: no network, since that needs programs that may be missing."""
        return ("--network", "none", "--cgroup-parent", self.cgroup_parent)

    def terminal(self, *args: object) -> Terminal:
        command = ["env", "-u", "DOCKER_CONFIG", f"CONTAINERS_CONF={self.config}", *self.command(*args)]
        terminal = Terminal(command)
        self._terminals.append(terminal)
        return terminal

    def inspect(self, name: str) -> Any:
        return json.loads(self("inspect", name).stdout)[0]

    def load(self, layout: Path, name: str) -> None:
        archive = self.directory / f"{name}.tar"
        reference = f"docker.io/library/{name}:latest"
        skopeo("copy", "--quiet", f"oci:{layout}:latest", f"docker-archive:{archive}:{reference}")
        self("load", "--quiet", "--input", archive)
        archive.unlink()

    def remove_containers(self) -> None:
        for terminal in self._terminals:
            terminal.end()
        self._terminals.clear()
        self("rm", "-f", "-t", "0", "-a")

    def close(self) -> None:
        self.daemon.close(self.cgroup_parent)
        shutil.rmtree(self.directory, ignore_errors=True)
