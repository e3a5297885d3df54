"""Containers whose state is not what it was: damaged files, foreign pids, missing groups, half a creation.

Every command says in a sentence what is wrong, and `delete --force` gets rid of what is left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Result, wait_until
from tests.support.oci import Runtime
from tests.support.world import World

COMMANDS = ("state", "start", "kill", "delete", "pause", "resume", "ps", "update")


@pytest.fixture
def runtime(world: World, payload: Path) -> Iterator[Runtime]:
    with tempfile.TemporaryDirectory(prefix="pyd-test-state-") as directory:
        made = Runtime(Path(directory), world.cgroup_parent, payload)
        yield made
        made.finish(world)


@pytest.fixture
def box(runtime: Runtime) -> Box:
    return Box(runtime)


@pytest.fixture
def foreign() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with any container."""
    # start times are told in hundredths of a second: it must not be that of the container just made
    time.sleep(0.05)
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


class Box:
    """A created container `box` and what the runtime remembers of it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.bundle = runtime.bundle("box", ["/payload", "sleep", "1000"])
        silent = subprocess.DEVNULL
        command = [*runtime.program, "create", "--bundle", str(self.bundle), "box"]
        subprocess.run(command, stdin=silent, stdout=silent, stderr=silent, check=True, timeout=30)
        self.directory = runtime.directory / "state" / "box"
        self.record: dict[str, Any] = json.loads((self.directory / "state.json").read_text())
        self.pid: int = self.record["pid"]
        self.parents = [group.parent for group in self.groups()]

    def rewrite(self, **fields: Any) -> None:
        (self.directory / "state.json").write_text(json.dumps(self.record | fields))

    def groups(self) -> list[Path]:
        top = Path("/sys/fs/cgroup")
        found = [hierarchy / self.record["cgroup"].strip("/") for hierarchy in [top, *top.glob("*/")]]
        return [group for group in found if group.is_dir()]

    def forget_parents(self) -> None:
        """The runtime takes the group above the container's away together with that, which it cannot here."""
        for group in self.parents:
            with suppress(OSError):
                group.rmdir()

    def alive(self) -> bool:
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rsplit(") ", 1)[1][0] not in "ZX"

    def gone(self) -> None:
        wait_until(lambda: not self.alive(), 5, "the container's first process is still there")
        assert not self.groups() and not self.directory.exists()


def one_sentence(result: Result, *words: str) -> None:
    assert result.code == 1, result
    assert len(result.stderr.strip().splitlines()) == 1, result
    assert "panicked" not in result.stderr
    for word in words:
        assert word in result.stderr, f"{word!r} is not in {result}"


DAMAGES: list[tuple[str, Callable[[Box], object], str]] = [
    ("empty", lambda box: (box.directory / "state.json").write_text(""), "is empty"),
    ("cut", lambda box: os.truncate(box.directory / "state.json", 40), "is damaged"),
    ("bytes", lambda box: (box.directory / "state.json").write_bytes(b"\0\xff" * 99), "is damaged"),
    ("list", lambda box: (box.directory / "state.json").write_text("[]"), "is damaged"),
    ("missing", lambda box: (box.directory / "state.json").unlink(), "is missing"),
    (
        "of runc",
        lambda box: (box.directory / "state.json").write_text('{"id": "box", "init_process_pid": 1}'),
        "not written by pyd-runtime",
    ),
    ("of a later version", lambda box: box.rewrite(format=2), "format 2"),
    ("of another container", lambda box: box.rewrite(id="other"), "other"),
    ("pid of everybody", lambda box: box.rewrite(pid=-1), "-1"),
    ("pid of no type", lambda box: box.rewrite(pid="many"), "is damaged"),
]


@pytest.mark.parametrize(("damage", "word"), [row[1:] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
def test_a_damaged_record(box: Box, damage: Callable[[Box], object], word: str) -> None:
    damage(box)
    for command in COMMANDS:
        one_sentence(box.runtime(command, "box", code=None), "state.json", word, "delete --force")
    failed = box.runtime("exec", "box", "/payload", "cwd", code=None)
    assert failed.code not in (0, 126, 127) and "state.json" in failed.stderr
    listed = box.runtime("list")
    assert "load container box" in listed.stderr and "box " not in listed.stdout
    box.runtime("delete", "--force", "box")
    box.gone()
    box.runtime("delete", "--force", "box")


def test_a_damaged_spec(box: Box) -> None:
    os.truncate(box.directory / "config.json", 10)
    for command in ("state", "start"):
        one_sentence(box.runtime(command, "box", code=None), "config.json", "is damaged", "delete --force")
    assert box.alive(), "start has let it go"
    box.runtime("kill", "box", "KILL")
    box.runtime("delete", "--force", "box")
    box.gone()


def test_nothing_is_readable(box: Box) -> None:
    groups = box.groups()
    for name in ("state.json", "config.json"):
        (box.directory / name).write_text("{")
    done = box.runtime("delete", "--force", "box")
    assert "cannot be found" in done.stderr and not box.directory.exists()
    os.kill(box.pid, signal.SIGKILL)
    wait_until(lambda: not box.alive(), 5)
    for group in groups:
        group.rmdir()
    box.forget_parents()


def test_a_pid_that_is_another_process_now(box: Box, foreign: subprocess.Popen[bytes]) -> None:
    box.rewrite(pid=foreign.pid)
    state = box.runtime.state("box")
    assert (state["status"], state["pid"]) == ("stopped", 0)
    one_sentence(box.runtime("kill", "box", "KILL", code=None), "container not running")
    one_sentence(box.runtime("start", "box", code=None), "stopped")
    assert "stopped" in box.runtime("exec", "box", "/payload", "cwd", code=None).stderr
    box.runtime("delete", "--force", "box")
    box.gone()
    assert foreign.poll() is None, "the process that has its pid was killed"


def test_a_container_that_was_killed_from_outside(box: Box) -> None:
    box.runtime("start", "box")
    os.kill(box.pid, signal.SIGKILL)
    wait_until(lambda: box.runtime.state("box")["status"] == "stopped", 5)
    for command in ("kill", "pause", "update"):
        one_sentence(box.runtime(command, "box", code=None), "container not running")
    one_sentence(box.runtime("start", "box", code=None), "cannot start a container that has stopped")
    assert "stopped container" in box.runtime("exec", "box", "/payload", "cwd", code=None).stderr
    box.runtime("delete", "box")
    box.gone()
    one_sentence(box.runtime("delete", "box", code=None), "container does not exist: box")


def test_its_groups_were_removed(box: Box) -> None:
    """As an overzealous administrator does it."""
    box.runtime("start", "box")
    for group in box.groups():
        root = Path(*group.parts[: 5 if group.parts[4] != box.record["cgroup"].split("/")[1] else 4])
        (root / "cgroup.procs").write_text(str(box.pid))
        group.rmdir()
    assert not box.groups()
    for command in (["pause", "box"], ["ps", "box"], ["update", "--pids-limit", "5", "box"]):
        one_sentence(box.runtime(*command, code=None), "control group", "is gone")
    assert "is gone" in box.runtime("exec", "box", "/payload", "cwd", code=None).stderr
    assert box.runtime.state("box")["status"] == "running"
    box.runtime("kill", "box", "KILL")
    wait_until(lambda: box.runtime.state("box")["status"] == "stopped", 5)
    box.runtime("delete", "box")
    box.gone()
    box.forget_parents()


def test_strangers_in_groups_below_go_with_it(box: Box, foreign: subprocess.Popen[bytes]) -> None:
    box.runtime("start", "box")
    for group in box.groups():
        below = group / "below"
        below.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            # a cpuset of version 1 takes nobody before it has CPUs
            with suppress(OSError):
                (below / file).write_text((group / file).read_text())
        with suppress(OSError):
            (below / "cgroup.procs").write_text(str(foreign.pid))
    one_sentence(box.runtime("delete", "box", code=None), "not stopped: running", "delete --force")
    box.runtime("delete", "--force", "box")
    box.gone()
    assert foreign.wait(5) == -signal.SIGKILL


def test_a_group_in_use_is_not_taken(runtime: Runtime, foreign: subprocess.Popen[bytes]) -> None:
    bundle = runtime.bundle("taken", ["/payload", "cwd"])
    path = json.loads((bundle / "config.json").read_text())["linux"]["cgroupsPath"].strip("/")
    hierarchy = next(h for h in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if h.is_dir())
    group = hierarchy / path
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(str(foreign.pid))
    result = runtime("create", "--bundle", bundle, "taken", code=None)
    one_sentence(result, path, "another container uses this control group")
    assert foreign.poll() is None and not (runtime.directory / "state/taken").exists()
    foreign.kill()
    foreign.wait()
    wait_until(lambda: not (group / "cgroup.procs").read_text(), 5)
    runtime("run", "--bundle", bundle, "taken")
    group.parent.rmdir()


def test_a_creation_that_was_killed(runtime: Runtime, tmp_path: Path) -> None:
    """In the middle: its processes wait, its groups exist, no record was written."""
    hook = tmp_path / "hook.sh"
    hook.write_text("#!/bin/sh\nkill -KILL $PPID\n")
    hook.chmod(0o755)
    bundle = runtime.bundle(
        "half",
        ["/payload", "sleep", "1000"],
        lambda spec: spec.update(hooks={"createRuntime": [{"path": str(hook)}]}),
    )
    assert runtime("create", "--bundle", bundle, "half", code=None).code == -signal.SIGKILL
    one_sentence(runtime("state", "half", code=None), "not created completely", "delete --force")
    one_sentence(runtime("start", "half", code=None), "not created completely")
    one_sentence(runtime("create", "--bundle", bundle, "half", code=None), "already exists: half")
    runtime("delete", "--force", "half")
    assert not list((runtime.directory / "state").iterdir())
    # everything as before: the name can be used again
    spec = json.loads((bundle / "config.json").read_text())
    del spec["hooks"]
    spec["process"]["args"] = ["/payload", "cwd"]
    (bundle / "config.json").write_text(json.dumps(spec))
    assert runtime("run", "--bundle", bundle, "half").out == "/"


def test_a_deletion_that_was_killed(box: Box) -> None:
    """At any of its steps: process, groups and files go in this order."""
    os.kill(box.pid, signal.SIGKILL)
    wait_until(lambda: not box.alive(), 5)
    for group in box.groups():
        group.rmdir()
    for name in ("exec.fifo", "config.json"):
        (box.directory / name).unlink()
    assert box.runtime("delete", "box").stderr == ""
    box.gone()
    box.forget_parents()
