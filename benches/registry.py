"""Measures `pyd registry serve` beside Debian's docker-registry: `python -m benches.registry`.

Pushes and pulls one large blob, and many small ones over several connections, in turn: each round starts both
on empty directories. The client is the same for both, and does as little as it can (sendfile out, a buffer
that is thrown away in). pyd syncs every blob to disk before it answers; docker-registry does not.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.registry import Registry
from tests.support.served import Served

ENGINES = ("pyd", "docker-registry")
_LARGE = "one blob of {} MB"
_SMALL = "{} blobs of 50 kB, 4 connections"


class Blob:
    """A file and its digest."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        hashed, left = hashlib.sha256(), size
        with path.open("wb") as file:
            while left:
                block = os.urandom(min(left, 1 << 20))
                hashed.update(block)
                file.write(block)
                left -= len(block)
        self.digest = f"sha256:{hashed.hexdigest()}"


def push(connection: http.client.HTTPConnection, name: str, blob: Blob) -> None:
    """POST, PATCH, PUT: what clients do."""
    connection.request("POST", f"/v2/{name}/blobs/uploads/")
    location = _answer(connection, 202)
    connection.putrequest("PATCH", _relative(location))
    connection.putheader("Content-Length", str(blob.size))
    connection.putheader("Content-Type", "application/octet-stream")
    connection.endheaders()
    with blob.path.open("rb") as file:
        connection.sock.sendfile(file)
    location = _relative(_answer(connection, 202))
    separator = "&" if "?" in location else "?"
    connection.request("PUT", f"{location}{separator}digest={blob.digest}", headers={"Content-Length": "0"})
    _answer(connection, 201)


def pull(connection: http.client.HTTPConnection, name: str, blob: Blob) -> None:
    connection.request("GET", f"/v2/{name}/blobs/{blob.digest}")
    response = connection.getresponse()
    assert response.status == 200, response.status
    buffer, got = memoryview(bytearray(1 << 20)), 0
    while count := response.readinto(buffer):
        got += count
    assert got == blob.size


def _answer(connection: http.client.HTTPConnection, status: int) -> str:
    response = connection.getresponse()
    body = response.read()
    assert response.status == status, (response.status, body)
    return response.headers["Location"]


def _relative(location: str) -> str:
    return location[location.index("/v2/") :]


def spread(port: int, name: str, blobs: list[Blob], act: Callable[..., None], connections: int) -> float:
    """Seconds for all blobs, over that many connections."""
    failures: list[BaseException] = []

    def work(part: list[Blob]) -> None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            for blob in part:
                act(connection, name, blob)
            connection.close()
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=work, args=(blobs[start::connections],)) for start in range(connections)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.perf_counter() - begin


def cpu(pid: int) -> float:
    """Seconds of CPU that the process has used, in user space and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(engine: str, work: Path, large: Blob, small: list[Blob]) -> dict[str, tuple[float, float]]:
    """Seconds of each case, and seconds of CPU that the server took for it."""
    served: Registry | Served
    if engine == "pyd":
        served = Served(work / "pyd", "--access-log=false", "--gc-interval", "0")
    else:
        served = Registry(work / "docker-registry")
    try:
        found: dict[str, tuple[float, float]] = {}
        os.sync()
        for title, blobs, connections in (
            (_LARGE.format(large.size >> 20), [large], 1),
            (_SMALL.format(len(small)), small, 4),
        ):
            for verb, act in (("push", push), ("pull", pull)):
                before = cpu(served.pid)
                seconds = spread(served.port, "bench/a", blobs, act, connections)
                found[f"{verb} {title}"] = seconds, cpu(served.pid) - before
        return found
    finally:
        served.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.registry", description=__doc__)
    parser.add_argument(
        "--work", type=Path, help="where both keep their blobs (default: a temporary directory)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=512, help="of the large blob")
    parser.add_argument("--count", type=int, default=400, help="of small blobs")
    parser.add_argument("--json", type=Path, help="write all times")
    args = parser.parse_args()
    times: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="pyd-bench-registry-", dir=args.work) as place:
        work = Path(place)
        large = Blob(work / "large", args.megabytes << 20)
        small = [Blob(work / f"small{number}", 50_000) for number in range(args.count)]
        for number in range(args.rounds):
            for engine in ENGINES[:: 1 if number % 2 else -1]:
                with tempfile.TemporaryDirectory(dir=work) as round_place:
                    for case, taken in measure(engine, Path(round_place), large, small).items():
                        times.setdefault(case, {}).setdefault(engine, []).append(taken)
    print(f"medians of {args.rounds} rounds: ms, and ms of CPU of the server; load {os.getloadavg()[0]:.1f}")
    print(f"{'':42}{''.join(f'{engine:>24}' for engine in ENGINES)}   times as fast, CPU")
    for case, engines in times.items():
        row, middles = "", []
        for engine in ENGINES:
            wall, used = (statistics.median(values) * 1000 for values in zip(*engines[engine], strict=True))
            middles.append((wall, used))
            row += f"{wall:15.0f} {used:8.0f}"
        (wall, used), (other_wall, other_used) = middles
        print(f"{case:42}{row}   {other_wall / wall:.2f} {other_used / max(used, 1):.2f}")
    if args.json:
        args.json.write_text(json.dumps(times, indent=1) + "\n")


if __name__ == "__main__":
    main()
