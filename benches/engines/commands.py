"""Engines whose command line is Docker's: pyd, podman, docker. Whole commands, as a user types them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.engines.base import Engine, end, wait_for
from benches.engines.runtimes import Crun, pyd_runtime
from benches.programs import Unavailable, find
from benches.spawner import Timing


class CommandLine(Engine):
    level = "command"
    can = frozenset(
        {"start", "exec", "parallel", "density", "memory", "load", "pull", "push", "changes", "save"}
    )
    base: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ("--network", "none")
    force: tuple[str, ...] = ("rm", "-f")
    push_options: tuple[str, ...] = ("-q",)

    def start_command(self) -> list[str]:
        return [*self.base, "run", "--rm", *self.run_options, "busybox", "true"]

    def sleeper(self) -> tuple[str, Timing]:
        name = self.unique()
        options = ["-d", "--name", name, *self.run_options]
        return name, self.main.run([*self.base, "run", *options, "busybox", "sleep", "10000"])

    def execute(self, name: str) -> Timing:
        return self.main.run([*self.base, "exec", name, "true"])

    def remove(self, names: Sequence[str]) -> float:
        return self.main.run([*self.base, *self.force, *names]).seconds

    def load(self, archive: Path) -> Timing:
        return self.main.run([*self.base, "load", "-q", "-i", str(archive)])

    def pull(self, reference: str) -> Timing:
        return self.main.run([*self.base, "pull", "-q", reference])

    def push(self, reference: str, target: str) -> Timing:
        self.main.run([*self.base, "tag", reference, target])
        try:
            return self.main.run([*self.base, "push", *self.push_options, target])
        finally:
            self.main.run([*self.base, "rmi", target])

    def writer(self, files: int) -> str:
        name = self.unique()
        script = (
            f"n=0; while [ $n -lt {files} ]; do [ $((n % 100)) = 0 ] && mkdir -p /written/$((n / 100)); "
            "echo some content of file $n >/written/$((n / 100))/$n; n=$((n + 1)); done"
        )
        options = ["--name", name, *self.run_options]
        self.main.run([*self.base, "run", *options, "busybox", "sh", "-c", script])
        return name

    def diff(self, name: str) -> Timing:
        return self.main.run([*self.base, "diff", name])

    def commit(self, name: str, reference: str) -> Timing:
        return self.main.run([*self.base, "commit", name, reference])

    def save(self, reference: str, archive: Path) -> Timing:
        return self.main.run([*self.base, "save", "-o", str(archive), reference])

    def build(self, context: Path, reference: str, *, cache: bool = True) -> Timing:
        options = ["-q", "-t", reference, "--network", "none"]
        if not cache:
            options.append("--no-cache")
        return self.main.run([*self.base, "build", *options, str(context)])

    def forget_build(self, reference: str) -> None:
        self.remove_image(reference)

    def remove_image(self, reference: str) -> None:
        self.main.run([*self.base, "rmi", "-f", reference])

    def import_busybox(self) -> None:
        with subprocess.Popen(
            ["tar", "-C", str(self.place.rootfs), "-c", "."], stdout=subprocess.PIPE
        ) as tar:
            done = subprocess.run(
                [*self.base, "import", "-", "busybox"],
                stdin=tar.stdout,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise Unavailable(f"{self.name} import: {' '.join(done.stderr.split())[-300:]}")


class Pyd(CommandLine):
    name = "pyd"
    what = "`pyd run --rm --network none`"
    can = CommandLine.can | {"build"}

    def prepare(self) -> None:
        pyd_runtime()
        script = Path(sys.executable).parent / "pyd"
        self.base = (str(script),) if script.exists() else (sys.executable, "-m", "pyd.cli.main")
        self.environment.update(
            PYD_DATA_ROOT=str(self.work / "data"),
            PYD_RUN_ROOT=str(self.work / "run"),
            PYD_CGROUP_PARENT=f"/{self.place.tag}",
        )
        self.import_busybox()

    def forget_build(self, reference: str) -> None:
        self.main.run([*self.base, "builder", "prune", "-a", "-f"])
        self.remove_image(reference)

    def remove_image(self, reference: str) -> None:
        """It deletes in the background, which is not to fall into the time of the next engine."""
        super().remove_image(reference)
        trash = self.work / "data" / "trash"
        wait_for(lambda: not trash.exists() or not any(trash.iterdir()))


class Podman(CommandLine):
    name = "podman"
    what = "`podman run --rm --network none`, on crun"
    programs = ("podman", "crun", "conmon")
    # Its default of 1048576 open files is above the hard limit of a host without CAP_SYS_RESOURCE.
    run_options: tuple[str, ...] = (
        "--network",
        "none",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=4096:4096",
    )
    # It asks politely first, and a sleeping PID 1 does not listen: no engine is to wait for that.
    force: tuple[str, ...] = ("rm", "-f", "-t", "0")
    push_options = ("-q", "--tls-verify=false")
    view = Crun.view

    def prepare(self) -> None:
        self.run_options = (*self.run_options, "--cgroup-parent", f"/{self.place.tag}")
        # its --runroot may have 50 characters; /run is the run's own (isolation.py)
        run_root = f"/run/{self.work.name}"
        self.base = (
            *(find("podman"), "--root", str(self.work / "root"), "--runroot", run_root),
            *("--tmpdir", str(self.work / "tmp"), "--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        )
        self.import_busybox()

    def pull(self, reference: str) -> Timing:
        return self.main.run([*self.base, "pull", "-q", "--tls-verify=false", reference])


class Docker(CommandLine):
    name = "docker"
    what = "`docker run --rm --network none`, on a dockerd of its own"
    programs = ("dockerd", "docker", "containerd", "runc")
    can = CommandLine.can | {"build"}
    buildkit = False

    def prepare(self) -> None:
        daemon, client = find("dockerd"), find("docker")
        self.environment["DOCKER_BUILDKIT"] = str(int(self.buildkit))
        socket = f"unix://{self.work}/docker.sock"
        self.environment["DOCKER_HOST"] = socket
        self.base = (client,)
        places = ["--data-root", self.work / "data", "--exec-root", self.work / "exec"]
        places += ["--pidfile", self.work / "pid", "-H", socket, "--cgroup-parent", f"/{self.place.tag}"]
        self._log = self.work / "log"
        with self._log.open("w") as log:
            self._daemon = subprocess.Popen(
                [daemon, *map(str, places), "--bridge", "none", "--iptables=false"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        if not wait_for(self._answers):
            raise Unavailable(f"dockerd does not answer: {self._log.read_text()[-300:]}")
        self.import_busybox()

    def _answers(self) -> bool:
        if self._daemon.poll() is not None:
            raise Unavailable(f"dockerd ended: {' '.join(self._log.read_text().split())[-300:]}")
        done = subprocess.run([*self.base, "version"], env=self.environment, capture_output=True, check=False)
        return done.returncode == 0

    def stop(self) -> None:
        end(getattr(self, "_daemon", None))


class DockerBuildKit(Docker):
    name = "docker-buildkit"
    what = "`DOCKER_BUILDKIT=1 docker build`, on the BuildKit in a dockerd of its own"
    can = frozenset({"build"})
    buildkit = True

    def forget_build(self, reference: str) -> None:
        self.remove_image(reference)
        self.main.run([*self.base, "builder", "prune", "-a", "-f"])
