"""buildah, which builds images without a daemon and runs nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benches.engines.base import Engine
from benches.images import busybox_archive
from benches.programs import Unavailable, find
from benches.spawner import Timing


class Buildah(Engine):
    name = "buildah"
    level = "command"
    what = "`buildah build --layers`, on runc"
    can = frozenset({"build"})
    programs = ("buildah", "runc")

    def prepare(self) -> None:
        self.base = (
            *(find("buildah"), "--root", str(self.work / "root"), "--runroot", str(self.work / "run")),
        )
        self.runtime = find("runc")
        archive = busybox_archive(self.place.rootfs, self.work / "busybox.tar", "localhost/busybox:latest")
        done = subprocess.run(
            [*self.base, "pull", "-q", f"docker-archive:{archive}"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"buildah pull: {' '.join(done.stderr.split())[-300:]}")

    def probe(self) -> None:
        context = self.work / "probe"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM busybox\nRUN true\n")
        self.build(context, "probe", cache=False)

    def build(self, context: Path, reference: str, *, cache: bool = True) -> Timing:
        # without --layers it keeps no cache at all; its own default runtime refuses hybrid cgroups
        options = ["--layers", "--runtime", self.runtime, "--network", "none", "-q", "-t", reference]
        if not cache:
            options.append("--no-cache")
        return self.main.run([*self.base, "build", *options, str(context)])

    def forget_build(self, reference: str) -> None:
        self.main.run([*self.base, "rmi", "-f", reference])
        self.main.run([*self.base, "rmi", "--prune", "-f"])
