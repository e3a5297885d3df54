"""The floor: benches/floor/start.c, just the kernel work of the bundle. See docs/benchmarks.md."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from benches.engines.base import Engine
from benches.engines.runtimes import SPEC, UNIFIED, need_both_versions
from benches.programs import Unavailable, compiled
from benches.spawner import Failed, Timing

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SOURCES = ["floor/start.c", "floor/cgroups.c", "floor/mounts.c", "floor/seal.c"]


class Floor(Engine):
    name = "floor"
    level = "runtime"
    what = "the kernel work of the bundle alone, in C"
    can = frozenset({"start", "parallel"})
    options: tuple[str, ...] = ()

    def prepare(self) -> None:
        if not Path(UNIFIED).exists() and not Path("/sys/fs/cgroup/cgroup.controllers").exists():
            raise Unavailable("this host has no cgroup v2 hierarchy")
        program = compiled("floor", SOURCES)
        etc = self.work / "etc"
        etc.mkdir()
        for name in ("resolv.conf", "hostname", "hosts"):
            (etc / name).touch()
        self.base = [program, "--rootfs", str(self.place.rootfs), "--etc", str(etc)]
        self.base += ["--filter", str(self._filter()), *self.options]

    def _filter(self) -> Path:
        """Docker's filter, compiled ahead."""
        program = compiled("filter", ["floor/filter.c"], ("seccomp",), static=False)
        place = self.work / "filter"
        with place.open("wb") as out:
            subprocess.run([program], input=filter_rules().encode(), stdout=out, check=True)
        return place

    def start_command(self) -> list[str]:
        return [*self.base, "--cgroup", f"{self.place.tag}/{self.name}-{self.unique()}", "true"]


class FloorV2(Floor):
    name = "floor-v2"
    level = "v2"
    what = "the floor on cgroup v2 only, with CLONE_INTO_CGROUP: what the v1 hierarchies cost is missing"
    options = ("--v2-only",)

    def prepare(self) -> None:
        need_both_versions()
        super().prepare()


class FloorOverlay(Floor):
    """With the throw-away layer that an engine adds to the bundle's work: the floor of a whole `run --rm`."""

    name = "floor-overlay"
    level = "command"
    what = "the floor, on an overlay that is made and removed"

    def start_command(self) -> list[str]:
        number = self.unique()
        layer = ["--layer", str(self.work / number)]
        return [*self.base, *layer, "--cgroup", f"{self.place.tag}/{self.name}-{number}", "true"]


class FloorParked(Floor):
    """Timed in the program itself, which lives as long as the scenario: there is no command to start."""

    name = "floor-parked"
    level = "library"
    what = "the floor with an init made ahead: cgroups, namespaces and mounts wait for the command"
    can = frozenset({"start"})

    def prepare(self) -> None:
        super().prepare()
        stage = self.work / "stage"
        stage.mkdir()
        cgroup = f"{self.place.tag}/{self.name}"
        self._server = subprocess.Popen(
            [*self.base, "--parked", str(stage), "--cgroup", cgroup, "true"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect_ready()

    def _line(self) -> str:
        assert self._server.stdout
        line = self._server.stdout.readline()
        if not line:
            raise Failed(f"the floor's server ended ({self._server.wait()})")
        return line.strip()

    def _expect_ready(self) -> None:
        if self._line() != "ready":
            raise Failed("the floor's server is out of step")

    def start(self) -> Timing:
        assert self._server.stdin
        self._server.stdin.write("\n")
        self._server.stdin.flush()
        took = int(self._line())
        end = time.monotonic_ns()
        self._expect_ready()  # making the next one ahead is what this floor leaves out
        return Timing(end - took, end, 0, 0)

    def stop(self) -> None:
        server = getattr(self, "_server", None)
        if server:
            server.stdin.close()
            server.wait()
            server.stdout.close()


class FloorPull(Engine):
    """It is told what the manifest says, so it makes one request less than the others."""

    name = "floor-pull"
    level = "command"
    what = "fetching, checking, inflating (ISA-L) and unpacking the layers, in C"
    can = frozenset({"pull"})

    def prepare(self) -> None:
        self._program = compiled("pull", ["floor/pull.c"], ("isal", "crypto", "pthread"), static=False)

    def probe(self) -> None:
        """It compiled; without a registry there is nothing to try."""

    def pull(self, reference: str) -> Timing:
        host, _, rest = reference.partition("/")
        name, tag = rest.split(":")
        manifest = _document(host, f"/v2/{name}/manifests/{tag}")
        config = _document(host, f"/v2/{name}/blobs/{manifest['config']['digest']}")
        words = [self._program, str(self.work / "image"), host.rpartition(":")[2], str(os.cpu_count())]
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
            words += [f"/v2/{name}/blobs/{layer['digest']}", diff_id.removeprefix("sha256:")]
        return self.main.run(words)

    def remove_image(self, reference: str) -> None:
        shutil.rmtree(self.work / "image")


def _document(host: str, path: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(host)
    try:
        connection.request("GET", path, headers={"Accept": MANIFEST})
        response = connection.getresponse()
        if response.status != 200:
            raise Failed(f"GET {path}: {response.status}")
        document: dict[str, Any] = json.load(response)
        return document
    finally:
        connection.close()


def filter_rules() -> str:
    """The bundle's seccomp profile, as filter.c reads it."""
    profile = json.loads(SPEC.read_text())["linux"]["seccomp"]
    lines = [f"default {profile.get('defaultErrnoRet', 1)}"]
    for rule in profile["syscalls"]:
        action = "allow" if rule["action"] == "SCMP_ACT_ALLOW" else str(rule.get("errnoRet", 1))
        arguments = rule.get("args") or []
        if len(arguments) > 1:
            raise ValueError(f"{rule['names']}: filter.c takes one argument per rule")
        condition = "".join(
            f" {argument['index']} {argument['op']} {argument['value']} {argument.get('valueTwo', 0)}"
            for argument in arguments
        )
        lines += [f"{name} {action}{condition}" for name in rule["names"]]
    return "\n".join(lines) + "\n"
