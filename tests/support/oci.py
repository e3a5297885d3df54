"""An OCI runtime as a program, and the bundles that it is given: no engine, no image."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyd
from tests.support.command import Result, find_program, wait_until
from tests.support.world import World

TOP = Path(__file__).parent.parent.parent
RUNTIME = os.environ.get("PYD_RUNTIME") or str(Path(str(pyd.__file__)).parent / "_bin/pyd-runtime")
Edit = Callable[[dict[str, Any]], object]
Furnish = Callable[[Path], object]


def unedited(_spec: dict[str, Any]) -> None:
    """For a bundle that is as `pyd-runtime spec` makes it."""


def set_in(*path: str, **fields: Any) -> Edit:
    def edit(spec: dict[str, Any]) -> None:
        place = spec
        for key in path:
            place = place.setdefault(key, {})
        place.update(fields)

    return edit


def bare(_root: Path) -> None:
    """For a root directory in which there is nothing but the payload."""


class Runtime:
    """A runtime (`program`: the words before its options) with a state directory of its own."""

    def __init__(
        self, directory: Path, cgroup_parent: str, payload: Path, program: Sequence[str] = (RUNTIME,)
    ) -> None:
        self.directory = directory
        self.cgroup_parent = cgroup_parent
        self.payload = payload
        self.program = [*program, "--root", str(directory / "state")]
        self.made: list[str] = []

    def __call__(self, *args: object, code: int | None = 0) -> Result:
        words = tuple(str(arg) for arg in args)
        done = subprocess.run(
            [*self.program, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
        result = Result(("runtime", *words), done.returncode, done.stdout, done.stderr)
        assert code is None or result.code == code, result
        return result

    def bundle(
        self,
        name: str,
        args: list[str],
        edit: Edit = unedited,
        furnish: Callable[[Path], object] = Path.exists,
    ) -> Path:
        """The default of `pyd-runtime spec`, with the payload as the only file of its root; `edit` changes
        the specification, `furnish` gets the root directory.
        """
        bundle = self.directory / name
        root = bundle / "rootfs"
        root.mkdir(parents=True)
        shutil.copy(self.payload, root / "payload")
        furnish(root)
        subprocess.run([RUNTIME, "spec", "--bundle", str(bundle)], check=True)
        spec = json.loads((bundle / "config.json").read_text())
        spec["process"]["args"] = args
        spec["process"]["terminal"] = False
        spec["root"]["readonly"] = False
        spec["linux"]["cgroupsPath"] = f"{self.cgroup_parent}/{self.directory.name}-{name}"
        if self.program[0] != RUNTIME:
            spec["ociVersion"] = "1.0.2"  # "unknown version specified": Debian's crun knows no later one
        edit(spec)
        (bundle / "config.json").write_text(json.dumps(spec))
        self.made.append(name)
        return bundle

    def run(
        self, name: str, args: list[str], edit: Edit = unedited, code: int | None = 0, furnish: Furnish = bare
    ) -> Result:
        return self("run", "--bundle", self.bundle(name, args, edit, furnish), name, code=code)

    def state(self, name: str) -> Any:
        return json.loads(self("state", name).stdout)

    def finish(self, world: World) -> None:
        """Removes what is left of the containers, and looks whether their cgroups are gone."""
        self.remove()
        if self.program[0] != RUNTIME:
            self._remove_parents(world)
        wait_until(lambda: not world.cgroups(), 5, "cgroups of a bundle")

    def remove(self) -> None:
        for name in self.made:
            self("delete", "--force", name, code=None)
        self.made.clear()

    def _remove_parents(self, world: World) -> None:
        """Debian's runtimes leave the group above a container's, which is empty then."""
        for directory in reversed(world.cgroups()):
            with contextlib.suppress(OSError):
                directory.rmdir()


def build_weakened() -> Path:
    """pyd-runtime with protections that can be switched off (rust/runtime/src/weakness.rs).

    $PYD_TEST_WEAKENED where there is no cargo (a virtual machine).
    """
    if os.environ.get("PYD_TEST_WEAKENED"):
        return Path(os.environ["PYD_TEST_WEAKENED"])
    command = ("cargo", "build", "--quiet", "--locked", "-p", "pyd-runtime", "--features", "weakened")
    subprocess.run([*command, "--bin", "pyd-runtime-weakened"], cwd=TOP, check=True)
    return TOP / "target/debug/pyd-runtime-weakened"


def weaken(binary: Path, directory: Path, *names: str) -> Path:
    """A program that is `binary` without the protections `names`: for `Runtime`, and for $PYD_RUNTIME."""
    program = directory / "-".join(("weakened", *names))
    # The engine gives its runtime no environment, so it cannot come from the test's.
    program.write_text(f'#!/bin/sh\nPYD_WEAKENED={",".join(names)} exec {binary} "$@"\n')
    program.chmod(0o755)
    return program


def debian(name: str) -> list[str]:
    """Debian's runc or crun, as words before its options."""
    program = find_program(name)
    assert program is not None, f"{name} is not installed (sh tests/setup.sh)"
    if name == "crun" and Path("/sys/fs/cgroup/unified").is_dir():
        # "cgroups in hybrid mode not supported": without the v2 tree it takes the machine for pure v1.
        without = 'umount /sys/fs/cgroup/unified; exec "$@"'
        return ["unshare", "-m", "sh", "-c", without, "sh", program]
    return [program]
