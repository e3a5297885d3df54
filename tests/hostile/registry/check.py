"""Whether a pull from a registry that misbehaves does what it must.

An error in one sentence and exit status 1, in bounded time and memory; nothing visible, nothing outside its
place, nobody asked who may not be; every blob in the store is what its name says. And once the registry is
honest the next pull brings the image, from where the last one stopped where that can be.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pyd import _native
from pyd.cli import main as cli
from pyd.registry import client, fetch, patience, transport
from tests.fakes.registry import FakeRegistry, serving
from tests.hostile.registry.case import Case, Scene

MEMORY = 150 << 20  # bytes that a pull may take beyond what the interpreter has: 200 MB for the command
_CANARY = "alive"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    errors: str


def run(*arguments: str) -> Ran:
    """The command, in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = cli.main(arguments)
    return Ran(code, out.getvalue(), errors.getvalue())


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """An honest registry, a data-root, a canary, and no waiting."""
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    directory = Path(tempfile.mkdtemp(prefix="pyd-hostile-", dir=shm))
    (directory / "canary").mkdir()
    (directory / "canary" / "file").write_text(_CANARY)
    (directory / "docker").mkdir()
    environ = {
        "PYD_DATA_ROOT": str(directory / "data"),
        "PYD_RUN_ROOT": str(directory / "run"),
        "DOCKER_CONFIG": str(directory / "docker"),
        "PYD_CONFIG": str(directory / "pyd.json"),
        "REGISTRY_AUTH_FILE": str(directory / "auth.json"),
        "XDG_RUNTIME_DIR": str(directory),
    }
    registry = FakeRegistry()
    with contextlib.ExitStack() as stack:
        stack.callback(_native.remove_tree, directory)
        stack.enter_context(serving(registry))
        made = Scene(registry, directory, environ)
        made.serve()
        stack.callback(lambda: [act() for act in reversed(made.at_end)])
        yield made


@contextlib.contextmanager
def quick(impatient: bool) -> Iterator[None]:
    """No waiting between two attempts; with `impatient`, limits of half a second instead of a minute."""
    changes: list[tuple[Any, str, object]] = [(transport, "_FIRST_PAUSE", 0.001)]
    if impatient:
        changes += [
            (transport, "_TIMEOUT", httpx.Timeout(connect=0.5, read=0.5, write=0.5, pool=None)),
            (patience, "ANSWER", 1.0),
            (patience, "PACE", 0.5),
            *((module, "ATTEMPTS", 2) for module in (transport, client, fetch)),
        ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def check(case: Case) -> None:
    """Raises AssertionError with what is wrong."""
    with scene() as made, quick(False):
        case.spoil(made)
        with _environment(made.environ):
            with quick(case.impatient):
                ran, seconds, memory = _measured(made)
            _nothing_elsewhere(made)
            _only_verified(made)
            _said(case, ran)
            assert seconds < case.seconds, f"took {seconds:.1f} s"
            assert memory < MEMORY, f"took {memory >> 20} MB"
            if case.comes:
                return
            if (made.data / "pyd.db").exists():
                assert run("images", "-q").out == "", "an image is visible"
            made.heal()
            again = run("pull", "-q", made.reference)
            assert again.code == 0, f"the next pull: {again}"
            assert run("images", "-q", "--no-trunc").out.split() == [made.image.id]
            _only_verified(made)
            _nothing_elsewhere(made)
            if case.resumes:
                ranges = [request.headers.get("Range") for request in made.registry.asked(made.big)]
                assert any(ranges), f"the next pull began anew: {ranges}"


def _measured(made: Scene) -> tuple[Ran, float, int]:
    """(what it said, seconds, bytes of memory at its peak beyond those before)"""
    gc.collect()
    before = _memory("VmRSS:")
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # proc(5): resets the peak
    begun = time.monotonic()
    ran = run("pull", *made.arguments, made.reference)
    return ran, time.monotonic() - begun, _memory("VmHWM:") - before


def _memory(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name))


def _said(case: Case, ran: Ran) -> None:
    assert ran.code == (0 if case.comes else 1), ran
    shown = (ran.out + ran.errors).replace("\n", "")
    assert shown.isprintable(), f"steers a terminal: {ran}"
    if case.comes:
        assert not ran.errors, ran
        return
    lines = ran.errors.splitlines()
    assert 1 <= len(lines) <= 2 and (len(lines) == 1 or lines[1].startswith("hint: ")), ran
    assert lines[0].startswith("Error response from daemon: ") and len(lines[0]) < 700, ran
    assert re.search(case.says, lines[0], re.IGNORECASE), f"does not say {case.says!r}: {ran}"


def _nothing_elsewhere(made: Scene) -> None:
    names = {path.name for path in made.directory.iterdir()}
    assert names <= {"data", "run", "docker", "canary"}, f"foreign files: {names}"
    canaries = [path.name for path in (made.directory / "canary").iterdir()]
    assert canaries == ["file"], f"beside or without the canary: {canaries}"
    assert (made.directory / "canary" / "file").read_text() == _CANARY, "the canary was changed"
    assert not list((made.directory / "docker").iterdir()), "files beside config.json"
    for victim in made.victims:
        assert not victim.requests, f"somebody was asked: {victim.requests}"


def _only_verified(made: Scene) -> None:
    content = made.data / "content" / "sha256"
    for path in content.iterdir() if content.is_dir() else ():
        with open(path, "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == path.name, f"unverified: {path}"
    snapshots = made.data / "snapshots"
    left = [path.name for path in snapshots.iterdir()] if snapshots.is_dir() else []
    assert not [name for name in left if ".tmp" in name], f"half unpacked: {left}"
