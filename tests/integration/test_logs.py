"""`pyd logs`: Docker's json-file format, bounded by default."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from tests.support.command import Pyd, wait_until


def test_both_streams_apart(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", "echo out; echo err >&2")
    pyd("wait", name)
    result = pyd("logs", name)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_file_is_in_json_file_format(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", "echo 'a \"b\" é'; printf tail")
    pyd("wait", name)
    path = Path(pyd.inspect(name)["LogPath"])
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["log"] for entry in entries] == ['a "b" é\n', "tail"]
    assert {entry["stream"] for entry in entries} == {"stdout"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", entries[0]["time"])


def test_tail_since_timestamps(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", "seq 100; sleep 1.2; echo late")
    pyd("wait", name)
    assert pyd("logs", "--tail", "3", name).lines == ["99", "100", "late"]
    assert pyd("logs", "-n", "0", name).stdout == ""
    stamp, _, text = pyd("logs", "-t", "--tail", "1", name).out.partition(" ")
    assert text == "late"
    assert pyd("logs", "--since", stamp, name).lines == ["late"]
    assert pyd("logs", "--until", stamp, name).lines[:3] == ["1", "2", "3"]


def test_follow_until_the_end(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.3; done")
    start = time.monotonic()
    assert pyd("logs", "-f", name, timeout=20).lines == ["1", "2", "3", "4"]
    assert time.monotonic() - start < 10


def test_follow_shows_lines_as_they_come(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "-i", "--name", name, busybox, "sh", "-c", "while read x; do echo got $x; done")
    follower = pyd.popen("logs", "-f", name)
    assert follower.stdout
    pyd("attach", name, input="one\n")
    assert follower.stdout.readline() == "got one\n"
    follower.kill()
    follower.communicate()


def test_long_lines_are_split_and_joined(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "sh", "-c", "head -c 50000 /dev/zero | tr '\\0' x; echo")
    pyd("wait", name)
    assert pyd("logs", name).stdout == "x" * 50_000 + "\n"


def test_bytes_that_are_not_utf8(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "printf", "a\\377b\\n")
    pyd("wait", name)
    assert pyd("logs", name).stdout == "a\ufffdb\n"


def test_rotation(busybox: str, pyd: Pyd, name: str) -> None:
    pyd(
        *("run", "-d", "--name", name, "--log-opt", "max-size=50k", "--log-opt", "max-file=2", busybox),
        *("sh", "-c", "seq 20000"),
    )
    pyd("wait", name)
    path = Path(pyd.inspect(name)["LogPath"])
    files = sorted(file for file in path.parent.iterdir() if file.name.startswith(path.name))
    assert [file.name.removeprefix(path.name) for file in files] == ["", ".1"]
    assert sum(file.stat().st_size for file in files) < 120_000
    lines = pyd("logs", name).lines
    assert lines[-1] == "20000"
    assert [int(line) for line in lines] == list(range(int(lines[0]), 20_001)), "a gap in the middle"


def test_bounded_by_default(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("create", "--name", name, busybox)
    options = pyd.inspect(name)["HostConfig"]["LogConfig"]
    assert options["Type"] == "json-file"
    assert {"max-size", "max-file"} <= set(options["Config"])


def test_driver_none(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, "--log-driver", "none", busybox, "echo", "x")
    pyd("wait", name)
    assert "does not support reading" in pyd("logs", name, code=1).stderr


def test_survives_a_restart(busybox: str, pyd: Pyd, name: str) -> None:
    pyd("run", "-d", "--name", name, busybox, "echo", "again")
    pyd("wait", name)
    pyd("start", name)
    pyd("wait", name)
    assert pyd("logs", name).lines == ["again", "again"]


def test_follow_across_a_rotation(busybox: str, pyd: Pyd, name: str) -> None:
    pyd(
        *("run", "-d", "--name", name, "--log-opt", "max-size=20k", "--log-opt", "max-file=3", busybox),
        *("sh", "-c", "for i in $(seq 3000); do echo $i; [ $((i % 100)) = 0 ] && sleep 0.02; done"),
    )
    lines = pyd("logs", "-f", name, timeout=30).lines
    assert lines[-1] == "3000"
    wait_until(lambda: not pyd.state(name)["Running"], 5)
