"""OCI runtimes: all get the very same bundle, the one that Docker 20.10 makes for busybox, without its
network hook.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benches.engines.base import Engine, wait_for
from benches.programs import Unavailable, find
from benches.spawner import Failed, Timing

SPEC = Path(__file__).parent / "docker-spec.json"
UNIFIED = "/sys/fs/cgroup/unified"


def hybrid() -> bool:
    return Path(UNIFIED, "cgroup.procs").exists()


class Runtime(Engine):
    level = "runtime"
    can = frozenset({"start", "split", "exec", "parallel", "density", "memory"})

    def prepare(self) -> None:
        self.base = [self.program(), "--root", str(self.work / "state")]
        self._prepared: list[Path] = []

    def program(self) -> str:
        return find(self.name)

    def change(self, spec: dict[str, Any]) -> None:
        """What differs from the bundle of the others. For a fair comparison: nothing."""

    def bundle(self, arguments: Sequence[str]) -> tuple[str, Path]:
        name = self.unique()
        bundle = self.work / name
        bundle.mkdir()
        spec = json.loads(SPEC.read_text())
        spec["process"]["args"] = list(arguments)
        spec["root"]["path"] = str(self.place.rootfs)
        spec["linux"]["cgroupsPath"] = f"/{self.place.tag}/{self.name}-{name}"
        for mount in spec["mounts"]:
            if mount["type"] == "bind":
                mount["source"] = str(bundle / mount["source"])
                Path(mount["source"]).touch()
        self.change(spec)
        (bundle / "config.json").write_text(json.dumps(spec))
        return name, bundle

    def start_command(self) -> list[str]:
        name, bundle = self.bundle(["true"])
        self._prepared.append(bundle)
        return [*self.base, "run", "--bundle", str(bundle), name]

    def started(self) -> None:
        while self._prepared:
            shutil.rmtree(self._prepared.pop())

    def split(self) -> dict[str, Timing]:
        name, bundle = self.bundle(["true"])
        pid_file = bundle / "pid"
        try:
            create = self.main.run(
                [*self.base, "create", "--bundle", str(bundle), "--pid-file", str(pid_file), name]
            )
            pid = int(pid_file.read_text())
            start = self.main.run([*self.base, "start", name])
            self.main.gone(pid)
            delete = self.main.run([*self.base, "delete", name])
        except Failed:
            self._destroy(name)
            raise
        finally:
            shutil.rmtree(bundle)
        return {"create": create, "start": start, "delete": delete}

    def _destroy(self, name: str) -> None:
        try:
            self.main.run([*self.base, "delete", "--force", name])
        except Failed:
            pass  # it never came to be; the first failure is the one to report

    def sleeper(self) -> tuple[str, Timing]:
        name, bundle = self.bundle(["sleep", "10000"])
        return name, self.main.run([*self.base, "run", "--detach", "--bundle", str(bundle), name])

    def execute(self, name: str) -> Timing:
        return self.main.run([*self.base, "exec", name, "true"])

    def remove(self, names: Sequence[str]) -> float:
        return sum(self.main.run([*self.base, "delete", "--force", name]).seconds for name in names)


class Runc(Runtime):
    name = "runc"
    what = "`runc run` of Docker's bundle"
    programs = ("runc",)


class Crun(Runtime):
    """It refuses hosts with hybrid cgroups, so there its commands run where the v2 tree is not mounted: the
    mount namespace is made once, before anything is timed, and nothing wraps the command.
    """

    name = "crun"
    what = "`crun run` of the same bundle"
    programs = ("crun",)
    view = (f"unmount={UNIFIED}",) if hybrid() else ()


class Youki(Runtime):
    name = "youki"
    what = "`youki run` of the same bundle"
    programs = ("youki",)


class PydRuntime(Runtime):
    name = "pyd-runtime"
    what = "`pyd-runtime run` of the same bundle"

    def program(self) -> str:
        return pyd_runtime()


class PydRuntimeFilter(PydRuntime):
    name = "pyd-runtime-filter"
    what = "the same with pyd's precompiled filter instead of the bundle's list, as `pyd run` has it"
    can = frozenset({"start", "split", "exec"})

    def change(self, spec: dict[str, Any]) -> None:
        del spec["linux"]["seccomp"]
        spec["annotations"] = {"dev.pyd.seccomp": "default"}


V2_ONLY = ("cgroup2=/sys/fs/cgroup",)


def need_both_versions() -> None:
    if not hybrid():
        raise Unavailable("it is for hosts with cgroups of both versions; this one has one")


class PydRuntimeV2(PydRuntime):
    name = "pyd-runtime-v2"
    level = "v2"
    what = "`pyd-runtime run` where only the v2 hierarchy is mounted, as on a pure v2 host"
    can = frozenset({"start", "exec"})
    view = V2_ONLY

    def prepare(self) -> None:
        need_both_versions()
        super().prepare()


class RuncV2(Runc):
    name = "runc-v2"
    level = "v2"
    what = "`runc run` where only the v2 hierarchy is mounted"
    can = frozenset({"start", "exec"})
    view = V2_ONLY

    def prepare(self) -> None:
        need_both_versions()
        super().prepare()

    def program(self) -> str:
        return find("runc")


def pyd_runtime() -> str:
    """$PYD_RUNTIME, or the program of the pyd that this interpreter imports."""
    given = os.environ.get("PYD_RUNTIME")
    if given:
        return given
    try:
        import pyd
    except ImportError as error:
        raise Unavailable(f"pyd cannot be imported ({error}): pip install .") from None
    program = Path(str(pyd.__file__)).parent / "_bin" / "pyd-runtime"
    if not program.exists():
        raise Unavailable(f"{program} does not exist: pip install .")
    return str(program)


class Bwrap(Engine):
    name = "bwrap"
    level = "runtime"
    what = "bubblewrap, all namespaces: no cgroups, no filter, no masks"
    can = frozenset({"start", "parallel"})
    programs = ("bwrap",)

    def prepare(self) -> None:
        self._program = find("bwrap")

    def start_command(self) -> list[str]:
        rootfs = str(self.place.rootfs)
        mounts = ["--bind", rootfs, "/", "--proc", "/proc", "--dev", "/dev"]
        return [self._program, "--unshare-all", "--hostname", "bench", *mounts, "true"]


class Nsenter(Engine):
    """The floor of exec: no cgroups are joined, no privileges dropped, no filter loaded."""

    name = "nsenter"
    level = "runtime"
    what = "`nsenter --all` only: no cgroups, no privileges dropped, no filter"
    can = frozenset({"exec"})
    programs = ("nsenter",)

    def prepare(self) -> None:
        self._program, self._unshare = find("nsenter"), find("unshare")
        self._sleepers: dict[str, subprocess.Popen[bytes]] = {}

    def sleeper(self) -> tuple[str, Timing]:
        begin = time.monotonic_ns()
        words = [self._unshare, "-muinpf", "--kill-child", "chroot", str(self.place.rootfs), "sleep", "10000"]
        parent = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        if not wait_for(lambda: bool(children.read_text().split())):
            raise Failed("unshare started nothing")
        child = children.read_text().split()[0]
        comm = Path(f"/proc/{child}/comm")
        if not wait_for(lambda: comm.read_text().strip() == "sleep"):
            raise Failed("chroot did not start sleep")
        self._sleepers[child] = parent
        return child, Timing(begin, time.monotonic_ns(), 0, 0)

    def probe(self) -> None:
        name, _ = self.sleeper()
        try:
            self.execute(name)
        finally:
            self.remove([name])

    def execute(self, name: str) -> Timing:
        return self.main.run([self._program, "-t", name, "-m", "-u", "-i", "-n", "-p", "-r", "/bin/true"])

    def remove(self, names: Sequence[str]) -> float:
        begin = time.monotonic()
        for name in names:
            parent = self._sleepers.pop(name)
            parent.kill()
            parent.wait()
        return time.monotonic() - begin
