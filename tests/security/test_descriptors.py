"""Descriptors of the host in a container, and working directories that lead to them (CVE-2024-21626)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.oci import Runtime

NUMBERS = range(3, 65)
LOOK = ["/payload", "ls", "."]


@pytest.fixture
def leaked(tmp_path: Path) -> Iterator[list[int]]:
    """Descriptors of a directory of the host that the caller of the runtime left inheritable."""
    (tmp_path / "canary").touch()
    numbers = [5, 7, 9, 33, 64]
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened = []
    for number in numbers:
        # Not where pytest has something open itself.
        free = number
        while os.path.lexists(f"/proc/self/fd/{free}"):
            free += 1
        opened.append(os.dup2(directory, free))
    yield opened
    for number in (directory, *opened):
        os.close(number)


def call(runtime: Runtime, leaked: list[int], *words: object) -> tuple[int, str]:
    done = subprocess.run(
        [*runtime.program, *(str(word) for word in words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        pass_fds=leaked,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout


def run_at(runtime: Runtime, leaked: list[int], number: int, command: list[str]) -> tuple[int, str]:
    def edit(spec: dict[str, Any]) -> None:
        spec["process"]["cwd"] = f"/proc/self/fd/{number}"

    bundle = runtime.bundle(f"run{number}", command, edit)
    return call(runtime, leaked, "run", "--bundle", bundle, f"run{number}")


def start(runtime: Runtime, *, create_only: bool = False) -> None:
    bundle = runtime.bundle("c", ["/payload", "sleep", "600"])
    command = [*runtime.program, "create", "--bundle", str(bundle), "c"]
    with open(os.devnull, "r+b") as null:
        subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=30, check=True)
    if not create_only:
        runtime("start", "c")


def test_run(runtime: Runtime, leaked: list[int]) -> None:
    """WORKDIR /proc/self/fd/N for N from 3 to 64."""
    for number in NUMBERS:
        code, out = run_at(runtime, leaked, number, LOOK)
        assert code != 0 and out == "", f"{number}: {out}"


def test_exec(runtime: Runtime, leaked: list[int]) -> None:
    start(runtime)
    for number in NUMBERS:
        code, out = call(runtime, leaked, "exec", "--cwd", f"/proc/self/fd/{number}", "c", *LOOK)
        assert code != 0 and out == "", f"{number}: {out}"


def test_control_of_the_working_directory(weakened: Callable[..., Runtime], leaked: list[int]) -> None:
    # A working directory is also made before it is entered, by a way that takes no such link.
    runtime = weakened("descriptors-stay", "targets-by-name")
    assert "canary" in run_at(runtime, leaked, leaked[0], LOOK)[1]
    start(runtime)
    assert "canary" in call(runtime, leaked, "exec", "--cwd", f"/proc/self/fd/{leaked[1]}", "c", *LOOK)[1]


def test_only_three_descriptors(runtime: Runtime, leaked: list[int]) -> None:
    """Whatever the caller has open: stdin, stdout and stderr, and a working directory that exists."""
    bundle = runtime.bundle("fds", ["/payload", "fds"])
    code, out = call(runtime, leaked, "run", "--bundle", bundle, "fds")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["0", "1", "2"], out
    start(runtime)
    code, out = call(runtime, leaked, "exec", "c", "/payload", "fds")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["0", "1", "2"], out
    assert call(runtime, leaked, "exec", "c", "/payload", "cwd") == (0, "/\n")


def test_control_of_the_descriptors(weakened: Callable[..., Runtime], leaked: list[int]) -> None:
    runtime = weakened("descriptors-stay")
    bundle = runtime.bundle("fds", ["/payload", "fds"])
    _, out = call(runtime, leaked, "run", "--bundle", bundle, "fds")
    assert {str(number) for number in leaked} <= {line.split()[0] for line in out.splitlines()}, out
    start(runtime)
    _, out = call(runtime, leaked, "exec", "c", "/payload", "fds")
    assert {str(number) for number in leaked} <= {line.split()[0] for line in out.splitlines()}, out


def test_descriptors_that_are_asked_for(runtime: Runtime, tmp_path: Path) -> None:
    """`--preserve-fds 1` is descriptor 3 and no other; a link through it is the caller's own wish."""
    (tmp_path / "file").touch()
    script = f'exec 3<{tmp_path}/file 4<{tmp_path}; exec "$0" "$@"'
    bundle = runtime.bundle("kept", ["/payload", "fds"])
    words = [*runtime.program, "run", "--preserve-fds", "1", "--bundle", str(bundle), "kept"]
    done = subprocess.run(
        ["sh", "-c", script, *words], capture_output=True, text=True, timeout=30, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["0", "1", "2", "3"], done.stdout


def hooked(where: str, listing: Path) -> Callable[[dict[str, Any]], None]:
    def edit(spec: dict[str, Any]) -> None:
        arguments = ["sh", "-c", f"ls -l /proc/self/fd > {listing}"]
        spec["hooks"] = {where: [{"path": "/bin/sh", "args": arguments, "env": ["PATH=/usr/bin:/bin"]}]}

    return edit


@pytest.mark.parametrize("where", ["createRuntime", "createContainer", "poststop"])
def test_hooks_inherit_none(runtime: Runtime, leaked: list[int], tmp_path: Path, where: str) -> None:
    bundle = runtime.bundle("hooked", ["/payload", "cwd"], hooked(where, tmp_path / "listing"))
    assert call(runtime, leaked, "run", "--bundle", bundle, "hooked") == (0, "/\n")
    listing = (tmp_path / "listing").read_text()
    assert "1 -> " in listing and str(tmp_path) + "\n" not in listing, listing


def test_control_of_the_hooks(weakened: Callable[..., Runtime], leaked: list[int], tmp_path: Path) -> None:
    runtime = weakened("descriptors-stay")
    bundle = runtime.bundle("hooked", ["/payload", "cwd"], hooked("createRuntime", tmp_path / "listing"))
    call(runtime, leaked, "run", "--bundle", bundle, "hooked")
    assert f"{tmp_path}\n" in (tmp_path / "listing").read_text()


def test_before_the_start(runtime: Runtime) -> None:
    """A command may be run in a container that was created only; what waits there shows it nothing."""
    start(runtime, create_only=True)
    assert led_to(runtime) == set()
    runtime("delete", "--force", "c")


def led_to(runtime: Runtime) -> set[str]:
    """The things of the first process that an exec gets hold of."""
    # The numbers of descriptors may be listed by root, not what they are.
    numbers = [f"fd/{number}" for number in runtime("exec", "c", "/payload", "ls", "/proc/1/fd").lines]
    assert {"fd/0", "fd/1", "fd/2"} < set(numbers)
    found = set()
    for name in ("mem", "environ", *numbers):
        result = runtime("exec", "c", "/payload", "probe", f"/proc/1/{name}", code=None)
        if {"data", "empty", "writable", "link"} & set(result.out.split()):
            found.add(name)
    for name in ("root", "cwd"):
        if runtime("exec", "c", "/payload", "ls", f"/proc/1/{name}", code=None).code == 0:
            found.add(name)
    return found


def test_control_of_before_the_start(weakened: Callable[..., Runtime]) -> None:
    runtime = weakened("stays-dumpable")
    start(runtime, create_only=True)
    assert {"mem", "root", "cwd", "fd/0"} <= led_to(runtime)
    runtime("delete", "--force", "c")
