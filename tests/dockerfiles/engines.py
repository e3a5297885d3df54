"""The engines that build: pyd, Docker with its BuildKit, buildah. Their command lines differ in a few words.

Each has a state of its own below a directory, and shares the network of this process: builds reach the
servers of the case at 127.0.0.1, and package registries as this machine does.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.command import executable, find_program
from tests.support.dockerd import Daemon, Docker

LONGEST = 1800
"""Seconds of one build: Maven fetches for minutes."""


class Failed(Exception):
    """A command failed; the message is the end of what it printed."""


def run(
    words: Sequence[object], environment: dict[str, str] | None = None, *, seconds: float = LONGEST
) -> str:
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | (environment or {}),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)} has not ended in {seconds:.0f} s") from None
    if done.returncode:
        text = (done.stdout + done.stderr).strip()
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}:\n{text[-3000:]}")
    return done.stdout


class Builder:
    name = ""
    contexts = True
    """Knows --build-context."""

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        raise NotImplementedError

    def build(self, words: Sequence[object]) -> None:
        raise NotImplementedError

    def save(self, reference: str, archive: Path) -> None:
        """As a docker-archive."""
        raise NotImplementedError

    def run(self, reference: str, command: Sequence[str]) -> str:
        """What a container of the image prints."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class PydBuilder(Builder):
    name = "pyd"

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        self._environment = {
            "PYD_DATA_ROOT": str(directory / "data"),
            "PYD_RUN_ROOT": str(directory / "run"),
            "PYD_CGROUP_PARENT": f"{cgroup_parent}/pyd",
        }

    def build(self, words: Sequence[object]) -> None:
        run([*executable(), "build", *words], self._environment)

    def save(self, reference: str, archive: Path) -> None:
        run([*executable(), "save", "-o", archive, reference], self._environment)

    def run(self, reference: str, command: Sequence[str]) -> str:
        return run(
            [*executable(), "run", "--rm", "--network", "none", reference, *command], self._environment
        )


class DockerBuilder(Builder):
    name = "docker"
    contexts = False

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        self._docker = Docker(directory, f"{cgroup_parent}/docker", own_network=False)

    def build(self, words: Sequence[object]) -> None:
        run(self._docker.command("build", "--progress", "plain", *words), {"DOCKER_BUILDKIT": "1"})

    def save(self, reference: str, archive: Path) -> None:
        run(self._docker.command("save", "-o", archive, reference))

    def run(self, reference: str, command: Sequence[str]) -> str:
        return run(self._docker.command("run", "--rm", "--network", "none", reference, *command))

    def close(self) -> None:
        self._docker.close()


class BuildahBuilder(Builder):
    """buildah runs no image; podman does, out of the same storage. On runc: their default is crun, which
    refuses hybrid cgroups.
    """

    name = "buildah"

    def __init__(self, directory: Path, cgroup_parent: str) -> None:
        for program in ("buildah", "podman", "runc"):
            if find_program(program) is None:
                raise Failed(f"{program} is not installed: sh tests/setup.sh")
        self._cgroup_parent = f"{cgroup_parent}/buildah"
        self._daemon = Daemon(directory, ["sleep", "infinity"], own_network=False)
        # podman insists on the file that DOCKER_CONFIG names
        (directory / "config.json").write_text("{}")
        self._environment = {"DOCKER_CONFIG": str(directory)}
        self._places = ("--root", directory / "root", "--runroot", directory / "run")

    def _run(self, program: str, *words: object) -> str:
        return run(self._daemon.enter(program, *map(str, (*self._places, *words))), self._environment)

    def build(self, words: Sequence[object]) -> None:
        options = ("--layers", "--tls-verify=false", "--identity-label=false", "--format=docker")
        # its own, which is the container's: one that has others below refuses device rules
        place = ("--runtime", "runc", "--cgroup-parent", f"{self._cgroup_parent}/build")
        self._run("buildah", "build", *options, *place, *words)

    def save(self, reference: str, archive: Path) -> None:
        self._run("buildah", "push", "-q", reference, f"docker-archive:{archive}:{reference}:latest")

    def run(self, reference: str, command: Sequence[str]) -> str:
        engine = ("--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file")
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
        place = ("--network", "none", "--cgroup-parent", f"{self._cgroup_parent}/run", *limits)
        return self._run("podman", *engine, "run", "--rm", *place, f"localhost/{reference}", *command)

    def close(self) -> None:
        self._daemon.close(self._cgroup_parent)


BUILDERS: dict[str, type[Builder]] = {
    builder.name: builder for builder in (PydBuilder, DockerBuilder, BuildahBuilder)
}
