"""Where environments do not get to: the host's into a container, a container's into the engine and hooks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyd.engine.environment import environment
from pyd.runtime import spec
from tests.support.command import Pyd, executable
from tests.support.oci import Runtime

SECRET = "canary-of-the-host"
HOSTILE = (
    "LD_PRELOAD=/evil.so", "LD_LIBRARY_PATH=/evil", "LD_AUDIT=/evil.so", "GCONV_PATH=/evil",
    "PYTHONPATH=/evil", "PYTHONHOME=/evil", "PYTHONSTARTUP=/evil.py", "PYTHONINSPECT=1",
    "NLSPATH=/evil/%N", "IFS=x", "ENV=/evil", "TMPDIR=/evil", "HOME=/evil", "BASH_ENV=/evil",
    "RES_OPTIONS=evil", "HOSTALIASES=/evil",
    "MALLOC_TRACE=/evil", "PYD_RUNTIME=/evil", "PYD_DATA_ROOT=/evil", "DOCKER_CONFIG=/evil",
    "NOTIFY_SOCKET=/evil", "LISTEN_FDS=9",
)  # fmt: skip
NO_VALUE = ["PATH", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET*", "*", "?", "", "=", "=value", "HOME", "-", "A*=1"]


def leaks(entries: list[str]) -> list[str]:
    return [entry for entry in entries if SECRET in entry]


def test_entries_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2026-57231: Env of an image such as "AWS_SECRET*" imports nothing of the caller's environment."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    made = spec.environment({"Env": NO_VALUE}, "/root")
    assert leaks(made) == []
    # Docker's reading: a name alone takes the default away, and is nothing by itself.
    assert sorted(made) == ["A*=1", "HOME=/root", "HOSTNAME="]
    assert leaks(environment((), NO_VALUE)) == []


def test_control_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user asks for on the command line (`-e NAME`) is taken from the caller: the check sees it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert leaks(environment(["AWS_SECRET_ACCESS_KEY"], ())) != []


def test_runtime_gives_nothing_of_its_own(runtime: Runtime) -> None:
    """The same for a config.json: whatever its entries are, the runtime's environment is not among them."""

    def edit(document: dict[str, Any]) -> None:
        document["process"]["env"] = ["PATH=/", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET*", "*"]

    bundle = runtime.bundle("c", ["/payload", "env"], edit)
    done = subprocess.run(
        [*runtime.program, "run", "--bundle", str(bundle), "c"],
        env=os.environ | {"AWS_SECRET_ACCESS_KEY": SECRET},
        capture_output=True,
        text=True,
        check=False,
    )
    assert SECRET not in done.stdout + done.stderr
    assert done.returncode != 0 or "PATH=/" in done.stdout


def hook_sees(runtime: Runtime, seen: Path, where: str) -> str:
    def edit(document: dict[str, Any]) -> None:
        document["process"]["env"] = list(HOSTILE)
        arguments = ["sh", "-c", f"/usr/bin/env > {seen}"]
        document["hooks"] = {where: [{"path": "/bin/sh", "args": arguments, "env": ["OWN=1"]}]}

    bundle = runtime.bundle(where, ["/payload", "cwd"], edit)
    done = subprocess.run(
        [*runtime.program, "run", "--bundle", str(bundle), where],
        env=os.environ | {"LD_BIND_NOW": SECRET, "PYTHONPATH": "/evil"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return seen.read_text()


@pytest.mark.parametrize("where", ["prestart", "createRuntime", "createContainer", "poststart", "poststop"])
def test_hooks_have_their_own(runtime: Runtime, tmp_path: Path, where: str) -> None:
    """CVE-2025-23266: a hook gets the environment of its own entry, not the container's, not the caller's."""
    seen = hook_sees(runtime, tmp_path / "seen", where)
    names = {line.partition("=")[0] for line in seen.splitlines()}
    assert "OWN" in names and names <= {"OWN", "PWD", "_", "SHLVL", "OLDPWD"}, seen


def test_control_of_the_hooks(weakened: Callable[..., Runtime], tmp_path: Path) -> None:
    seen = hook_sees(weakened("hook-environment"), tmp_path / "seen", "createRuntime")
    assert SECRET in seen and "PYTHONPATH=/evil" in seen


def test_the_monitor_has_none(busybox: str, pyd: Pyd) -> None:
    """CVE-2025-23266: the program that enters the container is started with an empty environment, whatever
    image, user and caller have set; the container has all of it.
    """
    flags = [word for entry in HOSTILE for word in ("-e", entry)]
    caller = {"AWS_SECRET_ACCESS_KEY": SECRET, "GCONV_PATH": "/evil", "LD_BIND_NOW": "1"}
    container = pyd("run", "-d", "--network", "none", *flags, busybox, "sleep", "1000", env=caller).out
    first = pyd.pid(container)
    monitor = next(
        line.split()[1]
        for line in Path(f"/proc/{first}/status").read_text().splitlines()
        if line.startswith("PPid")
    )
    assert b"shim" in Path(f"/proc/{monitor}/cmdline").read_bytes()
    assert Path(f"/proc/{monitor}/environ").read_bytes().strip(b"\0") == b""
    within = Path(f"/proc/{first}/environ").read_bytes()
    assert b"LD_PRELOAD=/evil.so" in within, "the control: it is seen where it is"
    assert SECRET.encode() not in within
    # And a command that is started later runs, in the container's environment.
    assert pyd("exec", container, "sh", "-c", "echo $PYTHONHOME").out == "/evil"


def trap(directory: Path) -> Path:
    """A working directory full of modules that would tell if somebody imported them."""
    told = directory / "told"
    module = f"open({str(told)!r}, 'a').write(__name__ + chr(10))\n"
    names = [
        "json",
        "os",
        "sqlite3",
        "socket",
        "signal",
        "typing",
        "sitecustomize",
        "usercustomize",
        "site",
        "pyd",
    ]
    for name in names:
        (directory / f"{name}.py").write_text(module)
    (directory / "pyd").mkdir()
    (directory / "pyd/__init__.py").write_text(module)
    (directory / "pyvenv.cfg").write_text("home = /evil\n")
    return told


def test_hostile_working_directory(rootfs: Path, pyd: Pyd, tmp_path: Path) -> None:
    """The command, its monitor and its sweeper import nothing from where they are called."""
    if len(executable()) > 1:
        # Not installed: `python -m` looks into the working directory by itself, the script does not.
        pyd.base = [sys.executable, "-P", "-m", "pyd.cli.main"]
    told = trap(tmp_path)
    pyd("ps", cwd=tmp_path)
    run = ("run", "--rm", "--network", "none", "--rootfs", rootfs, "/bin/sh", "-c", "echo hi")
    assert pyd(*run, cwd=tmp_path).out == "hi"
    pyd("images", cwd=tmp_path)
    assert not told.exists(), told.read_text()


def test_control_of_the_working_directory(tmp_path: Path) -> None:
    """A Python that has the working directory in its path falls into the trap."""
    told = trap(tmp_path)
    subprocess.run([sys.executable, "-c", "import json, pyd"], cwd=tmp_path, check=False, capture_output=True)
    assert "pyd" in told.read_text()
