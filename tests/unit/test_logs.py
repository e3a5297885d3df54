"""Reading json-file logs: rotation, tail, times, partial lines, following."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from pyd.runtime.logs import LogLine, read, seconds


def line(text: str, second: int = 0, stream: str = "stdout") -> bytes:
    stamp = f"2026-01-02T03:04:{second:02d}.000000001Z"
    return json.dumps({"log": text, "stream": stream, "time": stamp}).encode() + b"\n"


def texts(lines: list[LogLine]) -> list[str]:
    return [one.text for one in lines]


def test_rotated_files_come_first(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("5\n"))
    (tmp_path / "x.log.1").write_bytes(line("3\n") + line("4\n"))
    (tmp_path / "x.log.2").write_bytes(line("1\n") + line("2\n"))
    assert texts(list(read(str(path)))) == ["1\n", "2\n", "3\n", "4\n", "5\n"]
    assert texts(list(read(str(path), tail=3))) == ["3\n", "4\n", "5\n"]
    assert list(read(str(path), tail=0)) == []


def test_parts_of_a_long_line_are_one_for_tail(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("a\n") + line("b1") + line("err\n", stream="stderr") + line("b2\n") + line("c"))
    assert texts(list(read(str(path), tail=2, stderr=False))) == ["b1", "b2\n", "c"]
    assert texts(list(read(str(path), tail=1))) == ["c"]


def test_since_until_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"".join(line(f"{n}\n", n, "stderr" if n % 2 else "stdout") for n in range(6)))
    start = seconds("2026-01-02T03:04:00Z")
    assert texts(list(read(str(path), since=start + 3))) == ["3\n", "4\n", "5\n"]
    assert texts(list(read(str(path), until=start + 1.5))) == ["0\n", "1\n"]
    assert texts(list(read(str(path), stderr=False))) == ["0\n", "2\n", "4\n"]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("a\n") + b'{"log":"cut' + b"\n\n\x00\n[]\n" + line("b\n") + b'{"log":')
    assert texts(list(read(str(path)))) == ["a\n", "b\n"]


def test_missing_file_is_empty(tmp_path: Path) -> None:
    assert list(read(str(tmp_path / "nosuch"))) == []
    assert list(read(str(tmp_path / "nosuch"), follow=True)) == []


def test_follow_through_a_rotation_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("1\n"))
    alive = threading.Event()
    alive.set()

    def writer() -> None:
        with path.open("ab") as file:
            time.sleep(0.1)
            file.write(line("2\n")[:10])
            file.flush()
            time.sleep(0.1)
            file.write(line("2\n")[10:])
        path.rename(tmp_path / "x.log.1")
        path.write_bytes(line("3\n"))
        time.sleep(0.1)
        with path.open("ab") as file:
            file.write(line("4\n"))
        alive.clear()

    thread = threading.Thread(target=writer)
    thread.start()
    found = texts(list(read(str(path), follow=True, running=alive.is_set)))
    thread.join()
    assert found == ["1\n", "2\n", "3\n", "4\n"]


def rotate(path: Path, text: str, keep: int) -> None:
    """As the shim does it: the oldest goes, each gets the next number, and a new file begins."""
    for number in range(keep - 1, 0, -1):
        older = path if number == 1 else Path(f"{path}.{number - 1}")
        if older.exists():
            older.rename(f"{path}.{number}")
    path.write_bytes(line(text))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_following_misses_nothing_when_it_rotates_between_two_looks(tmp_path: Path, turns: int) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("0\n"))
    looks = 0

    def running() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            with path.open("ab") as file:
                file.write(line("end of 0\n"))
            for turn in range(turns):
                rotate(path, f"{turn + 1}\n", keep=5)
        return looks < 3

    found = texts(list(read(str(path), follow=True, running=running)))
    assert found == ["0\n", "end of 0\n", *(f"{turn + 1}\n" for turn in range(turns))]


def test_following_keeps_up_with_a_rotation_at_any_moment(tmp_path: Path) -> None:
    """A writer that rotates all the time through many files, as fast as it can."""
    path = tmp_path / "x.log"
    path.write_bytes(b"")
    alive = threading.Event()
    alive.set()
    count, turns = 20, 60

    def writer() -> None:
        number = 0
        for _ in range(turns):
            with path.open("ab") as file:
                for _ in range(count):
                    file.write(line(f"{number}\n"))
                    number += 1
            rotate(path, f"{number}\n", keep=turns + 2)
            number += 1
        alive.clear()

    thread = threading.Thread(target=writer)
    thread.start()
    found = texts(list(read(str(path), follow=True, running=alive.is_set)))
    thread.join()
    assert found == [f"{number}\n" for number in range(turns * (count + 1))]


def test_following_goes_on_when_the_file_in_hand_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("0\n"))
    looks = 0

    def running() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            for turn in range(4):
                rotate(path, f"{turn + 1}\n", keep=3)
        return looks < 3

    assert texts(list(read(str(path), follow=True, running=running))) == ["0\n", "2\n", "3\n", "4\n"]


def test_following_a_single_file_that_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(line("long before\n"))
    looks = 0

    def running() -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            path.write_bytes(line("new\n"))  # O_TRUNC: the same inode
        return looks < 3

    assert texts(list(read(str(path), follow=True, running=running))) == ["long before\n", "new\n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0.0),
        ("1970-01-02", 86400.0),
        ("1970-01-01T00:01", 60.0),
    ],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "12", "2026-13-01", "2026-01-01T25:00:00Z"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        seconds(text)
