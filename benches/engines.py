"""How each engine is told to do the same thing. An engine that is not installed is left out, by name.

Workarounds for hosts without CAP_SYS_RESOURCE or with hybrid cgroups are noted where they are made; none of
them makes a peer slower.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

UNIFIED = "/sys/fs/cgroup/unified"


class Unavailable(Exception):
    """This engine cannot take part here; the message says why."""


class Engine:
    """One engine on its own state below `work`. `name` is what --engine takes."""

    name = ""
    unmount: tuple[str, ...] = ()

    def __init__(self, work: Path, rootfs: Path) -> None:
        self.work = work / self.name
        self.work.mkdir(parents=True)
        self.rootfs = rootfs
        self._number = 0
        self._lane = 0
        self.environment = dict(os.environ)
        self.prepare()
        self._runner = self._start_runner()

    def _start_runner(self) -> subprocess.Popen[str]:
        top = str(Path(__file__).parent.parent)
        return subprocess.Popen(
            [sys.executable, "-m", "benches.runner", *self.unmount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=top,
            env=self.environment | {"PYTHONPATH": f"{top}:{os.environ.get('PYTHONPATH', '')}"},
        )

    def lane(self, number: int) -> Engine:
        """The same engine on the same state with a runner of its own, for measuring several at once."""
        other = copy.copy(self)
        other._lane, other._number = number, 0
        other._runner = other._start_runner()
        return other

    def close_runner(self) -> None:
        assert self._runner.stdin and self._runner.stdout
        self._runner.stdin.close()
        self._runner.wait()
        self._runner.stdout.close()

    def prepare(self) -> None:
        """Starts what the engine needs and gives it the busybox image."""

    def close(self) -> None:
        self.close_runner()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._runner.stdin and self._runner.stdout
        self._runner.stdin.write(json.dumps(request) + "\n")
        self._runner.stdin.flush()
        answer: dict[str, Any] = json.loads(self._runner.stdout.readline())
        if answer["code"] != 0:
            raise Unavailable(f"{self.name}: {request} -> {answer['code']}: {answer['out'].strip()[-400:]}")
        return answer

    def unique(self) -> str:
        self._number += 1
        return f"bench-{self.name}-{os.getpid()}-{self._lane}-{self._number}"

    # what a scenario asks for
    def start(self) -> dict[str, Any]:
        """A container runs `true`, is waited for and removed."""
        raise NotImplementedError

    def sleeper(self) -> str:
        """Starts a container that sleeps, detached; returns its name."""
        raise NotImplementedError

    def execute(self, name: str) -> dict[str, Any]:
        """`true` in a running container."""
        raise NotImplementedError

    def stop(self, names: list[str]) -> dict[str, Any]:
        """Kills and removes containers."""
        raise NotImplementedError

    def pull(self, reference: str) -> dict[str, Any]:
        raise NotImplementedError

    def remove_image(self, reference: str) -> None:
        raise NotImplementedError


def program(name: str) -> str:
    # the distribution's own first: /usr/local may hold a client of another version
    path = shutil.which(name, path=f"/usr/bin:/usr/sbin:{os.environ['PATH']}")
    if not path:
        raise Unavailable(f"{name} is not installed")
    return path


class CommandLine(Engine):
    """Engines whose command line is Docker's."""

    base: tuple[str, ...] = ()
    run_options: tuple[str, ...] = ("--network", "none")

    def start(self) -> dict[str, Any]:
        return self.ask({"argv": [*self.base, "run", "--rm", *self.run_options, "busybox", "true"]})

    def sleeper(self) -> str:
        name = self.unique()
        self.ask(
            {
                "argv": [
                    *self.base,
                    "run",
                    "-d",
                    "--name",
                    name,
                    *self.run_options,
                    "busybox",
                    "sleep",
                    "10000",
                ]
            }
        )
        return name

    def execute(self, name: str) -> dict[str, Any]:
        return self.ask({"argv": [*self.base, "exec", name, "true"]})

    def stop(self, names: list[str]) -> dict[str, Any]:
        return self.ask({"argv": [*self.base, "rm", "-f", *names]})

    def pull(self, reference: str) -> dict[str, Any]:
        return self.ask({"argv": [*self.base, "pull", "-q", reference]})

    def remove_image(self, reference: str) -> None:
        self.ask({"argv": [*self.base, "rmi", "-f", reference]})

    def load_busybox(self) -> None:
        tar = subprocess.Popen(["tar", "-C", str(self.rootfs), "-c", "."], stdout=subprocess.PIPE)
        done = subprocess.run(
            [*self.base, "import", "-", "busybox"],
            stdin=tar.stdout,
            env=self.environment,
            capture_output=True,
            check=False,
        )
        tar.wait()
        if tar.stdout:
            tar.stdout.close()
        if done.returncode:
            raise Unavailable(
                f"{self.name}: import of busybox: {done.stderr.decode(errors='replace')[-400:]}"
            )


class Pyd(CommandLine):
    name = "pyd"

    def prepare(self) -> None:
        script = Path(sys.executable).parent / "pyd"
        self.base = (str(script),) if script.exists() else (sys.executable, "-m", "pyd.cli.main")
        self.environment.update(
            PYD_DATA_ROOT=str(self.work / "data"),
            PYD_RUN_ROOT=str(self.work / "run"),
            PYD_CGROUP_PARENT=f"/pyd-bench-{os.getpid()}-{self.name}",
        )
        self.load_busybox()


class PydEngine(Pyd):
    """pyd.Engine in a process that is already running."""

    name = "pyd-engine"

    def start(self) -> dict[str, Any]:
        return self.ask({"engine": "run", "argv": ["true"]})

    def sleeper(self) -> str:
        self.ask({"engine": "detach", "argv": ["sleep", "10000"]})
        self._number += 1
        return ""

    def stop(self, names: list[str]) -> dict[str, Any]:
        listed = subprocess.run(
            [*self.base, "ps", "-aq"], env=self.environment, capture_output=True, text=True, check=True
        )
        return super().stop(listed.stdout.split())


class Docker(CommandLine):
    name = "docker"

    def prepare(self) -> None:
        daemon = program("dockerd")
        socket = f"unix://{self.work}/docker.sock"
        self.environment["DOCKER_HOST"] = socket
        self.base = (program("docker"),)
        self._log = (self.work / "log").open("w")
        self._daemon = subprocess.Popen(
            [
                *(daemon, "--data-root", str(self.work / "data"), "--exec-root", str(self.work / "exec")),
                *("--pidfile", str(self.work / "pid"), "-H", socket, "--bridge", "none", "--iptables=false"),
            ],
            stdout=self._log,
            stderr=self._log,
        )
        until = time.monotonic() + 30
        while subprocess.run(
            [*self.base, "version"], env=self.environment, capture_output=True, check=False
        ).returncode:
            if time.monotonic() > until:
                raise Unavailable(f"dockerd does not answer: {self.work}/log")
            time.sleep(0.1)
        self.load_busybox()

    def close(self) -> None:
        super().close()
        self._daemon.terminate()
        self._daemon.wait()
        self._log.close()


class Podman(CommandLine):
    name = "podman"
    # its default of 1048576 open files is above the hard limit of a host without CAP_SYS_RESOURCE
    run_options = ("--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
    unmount = (UNIFIED,)  # its runtime is crun

    def prepare(self) -> None:
        self.base = (
            *(program("podman"), "--root", str(self.work / "root"), "--runroot", str(self.work / "run")),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "file"),
        )
        self.load_busybox()

    def stop(self, names: list[str]) -> dict[str, Any]:
        # podman asks politely first, and a sleeping PID 1 does not listen
        return self.ask({"argv": [*self.base, "rm", "-f", "-t", "0", *names]})

    def pull(self, reference: str) -> dict[str, Any]:
        return self.ask({"argv": [*self.base, "pull", "-q", "--tls-verify=false", reference]})


class Runtime(Engine):
    """OCI runtimes: the bundle that Docker 20.10 makes for busybox, without its network hook."""

    def prepare(self) -> None:
        self.base = [program(self.name), "--root", str(self.work / "state")]

    def bundle(self, args: list[str]) -> tuple[str, Path]:
        name = self.unique()
        bundle = self.work / name
        bundle.mkdir()
        spec = json.loads((Path(__file__).parent / "docker-spec.json").read_text())
        spec["process"]["args"] = args
        spec["root"]["path"] = str(self.rootfs)
        spec["linux"]["cgroupsPath"] = f"/pyd-bench-{os.getpid()}/{name}"
        for mount in spec["mounts"]:
            if mount["type"] == "bind":
                mount["source"] = str(bundle / mount["source"])
                Path(mount["source"]).touch()
        self.change(spec)
        (bundle / "config.json").write_text(json.dumps(spec))
        return name, bundle

    def change(self, spec: dict[str, Any]) -> None:
        """What an engine has to alter in the bundle."""

    def start(self) -> dict[str, Any]:
        name, bundle = self.bundle(["true"])
        answer = self.ask({"argv": [*self.base, "run", "--bundle", str(bundle), name]})
        shutil.rmtree(bundle)
        return answer

    def sleeper(self) -> str:
        name, bundle = self.bundle(["sleep", "10000"])
        self.ask({"argv": [*self.base, "run", "--detach", "--bundle", str(bundle), name]})
        return name

    def execute(self, name: str) -> dict[str, Any]:
        return self.ask({"argv": [*self.base, "exec", name, "true"]})

    def stop(self, names: list[str]) -> dict[str, Any]:
        answers = [self.ask({"argv": [*self.base, "delete", "--force", name]}) for name in names]
        return {"seconds": sum(answer["seconds"] for answer in answers), "code": 0}


class Runc(Runtime):
    name = "runc"


class Crun(Runtime):
    name = "crun"
    unmount = (UNIFIED,)


class PydRuntime(Runtime):
    """With the precompiled default filter, as `pyd run` uses it; pyd-runtime-oci is the very bundle of the
    peers.
    """

    name = "pyd-runtime"

    def prepare(self) -> None:
        import pyd

        runtime = os.environ.get("PYD_RUNTIME") or str(
            Path(str(pyd.__file__)).parent / "_bin" / "pyd-runtime"
        )
        self.base = [runtime, "--root", str(self.work / "state")]

    def change(self, spec: dict[str, Any]) -> None:
        del spec["linux"]["seccomp"]
        spec["annotations"] = {"dev.pyd.seccomp": "default"}


class PydRuntimeOci(PydRuntime):
    name = "pyd-runtime-oci"

    def change(self, spec: dict[str, Any]) -> None:
        pass


ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (Pyd, PydEngine, PydRuntime, PydRuntimeOci, Crun, Runc, Podman, Docker)
}
