"""The log file."""

from __future__ import annotations

from tests.native.shim import (
    Shims,
    script,
)


def test_log_rotates(shims: Shims) -> None:
    shim = shims("seq", "20000", log={"max_size": 100_000, "max_file": 3})
    shim.wait()
    names = sorted(path.name for path in shim.directory.glob("x-json.log*"))
    assert names == ["x-json.log", "x-json.log.1", "x-json.log.2"]
    assert all((shim.directory / name).stat().st_size <= 100_000 for name in names)
    numbers = [int(line["log"]) for line in shim.log()]
    assert numbers == list(range(numbers[0], 20001))


def test_full_disk_does_not_stop_the_container(shims: Shims) -> None:
    shim = shims(*script("read a; seq 100; read b; echo end"), stdin=True, log={"path": "/dev/full"})
    assert shim.stream
    shim.stream.send(b"a\n")
    shim.stream.until(b"\n100\n")
    assert shim.ask("state")["log_dropped"] == 100
    shim.stream.send(b"b\n")
    assert shim.stream.finish()[2]["exit_code"] == 0
