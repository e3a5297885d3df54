"""containerd through its own client, on a containerd of the suite's own."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benches.engines.base import Engine, end, wait_for
from benches.images import busybox_archive
from benches.programs import Unavailable, find
from benches.spawner import Timing

IMAGE = "docker.io/library/busybox:latest"


class Ctr(Engine):
    name = "ctr"
    level = "command"
    what = "`ctr run --rm` on a containerd of its own, which runs runc"
    can = frozenset({"start", "exec", "parallel", "density", "memory", "load", "pull"})
    programs = ("containerd", "runc")

    def prepare(self) -> None:
        daemon, client = find("containerd"), find("ctr")
        socket = self.work / "containerd.sock"
        config = self.work / "config.toml"
        # the CRI plugin is Kubernetes', and wants a network configuration of the host
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        # its cgroups are /NAMESPACE/CONTAINER
        self.base = (client, "--address", str(socket), "--namespace", self.place.tag)
        words = ["--config", config, "--address", socket]
        words += ["--root", self.work / "root", "--state", self.work / "state"]
        self._log = self.work / "log"
        with self._log.open("w") as log:
            self._daemon = subprocess.Popen(
                [daemon, *map(str, words)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if not wait_for(self._answers):
            raise Unavailable(f"containerd does not answer: {self._log.read_text()[-300:]}")
        archive = busybox_archive(self.place.rootfs, self.work / "busybox.tar", IMAGE)
        done = subprocess.run(
            [*self.base, "images", "import", str(archive)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unavailable(f"ctr images import: {' '.join(done.stderr.split())[-300:]}")

    def _answers(self) -> bool:
        if self._daemon.poll() is not None:
            raise Unavailable(f"containerd ended: {' '.join(self._log.read_text().split())[-300:]}")
        return subprocess.run([*self.base, "version"], capture_output=True, check=False).returncode == 0

    def stop(self) -> None:
        end(getattr(self, "_daemon", None))

    def start_command(self) -> list[str]:
        return [*self.base, "run", "--rm", "--seccomp", IMAGE, self.unique(), "true"]

    def sleeper(self) -> tuple[str, Timing]:
        name = self.unique()
        words = ["run", "--detach", "--seccomp", IMAGE, name, "sleep", "10000"]
        return name, self.main.run([*self.base, *words])

    def execute(self, name: str) -> Timing:
        return self.main.run([*self.base, "tasks", "exec", "--exec-id", self.unique(), name, "true"])

    def remove(self, names: Sequence[str]) -> float:
        task = self.main.run([*self.base, "tasks", "rm", "--force", *names])
        return task.seconds + self.main.run([*self.base, "containers", "rm", *names]).seconds

    def load(self, archive: Path) -> Timing:
        return self.main.run([*self.base, "images", "import", str(archive)])

    def pull(self, reference: str) -> Timing:
        return self.main.run([*self.base, "images", "pull", "--plain-http", reference])

    def remove_image(self, reference: str) -> None:
        self.main.run([*self.base, "images", "rm", "--sync", reference])
