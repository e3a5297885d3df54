"""`kill -9` in the middle of pushes: no blob that was acknowledged is lost, none is shown unverified.

PYD_REGISTRY_KILLS=200 pytest tests/integration/test_registry_crash.py      runs more rounds
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from tests.support.command import Pyd
from tests.support.served import Served, sha256
from tests.support.world import World

ROUNDS = int(os.environ.get("PYD_REGISTRY_KILLS", "3"))
PUSHERS = 4


class Pusher(threading.Thread):
    """Pushes blobs and images until the server is gone; remembers what it was told is kept."""

    def __init__(self, served: Served, number: int, rounds: int) -> None:
        super().__init__()
        self._served = served
        self._name = f"crash/r{number}"
        self._random = random.Random(rounds * 100 + number)
        self.blobs: set[tuple[str, str]] = set()
        self.manifests: set[tuple[str, str]] = set()

    def run(self) -> None:
        try:
            while True:
                self._once()
        except (OSError, http.client.HTTPException):
            pass

    def _once(self) -> None:
        data = self._random.randbytes(self._random.choice((10, 5000, 300_000)))
        digest = sha256(data)
        if self._random.random() < 0.5:
            answer = self._served("POST", f"/v2/{self._name}/blobs/uploads/?digest={digest}", data)
        else:
            started = self._served("POST", f"/v2/{self._name}/blobs/uploads/")
            location = started.headers["Location"]
            half = len(data) // 2
            self._served("PATCH", location, data[:half])
            answer = self._served("PUT", f"{location}?digest={digest}", data[half:])
        assert answer.status == 201, answer
        self.blobs.add((self._name, digest))
        if self._random.random() < 0.3:
            document = self._served.manifest(self._name, data)
            answer = self._served.push_manifest(self._name, f"t{self._random.randrange(5)}", document)
            assert answer.status == 201
            self.manifests.add((self._name, answer.headers["Docker-Content-Digest"]))


@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_kill(world: World, pyd: Pyd) -> None:
    served = Served(world.directory / "killed", "--gc-interval", "0", "--access-log=false")
    blobs: set[tuple[str, str]] = set()
    manifests: set[tuple[str, str]] = set()
    hashed: set[str] = set()
    try:
        for number in range(ROUNDS):
            pushers = [Pusher(served, index, number) for index in range(PUSHERS)]
            for pusher in pushers:
                pusher.start()
            time.sleep(random.uniform(0.2, 0.8))
            served.kill()
            for pusher in pushers:
                pusher.join()
                blobs |= pusher.blobs
                manifests |= pusher.manifests
            served.start()
            assert_whole(served.directory, hashed)
            if number % 5 == 4:
                pyd("registry", "gc", "--root", served.directory)
        assert len(blobs) > ROUNDS
        for name, digest in blobs:
            answer = served("GET", f"/v2/{name}/blobs/{digest}")
            assert answer.status == 200 and sha256(answer.body) == digest, (name, digest)
        for name, digest in manifests:
            answer = served("GET", f"/v2/{name}/manifests/{digest}")
            assert answer.status == 200 and sha256(answer.body) == digest, (name, digest)
        print(f"{ROUNDS} kills, {len(blobs)} blobs and {len(manifests)} manifests acknowledged")
        served.stop()
        # nothing but what is shown stays, once the uploads have expired
        pyd("registry", "gc", "--root", served.directory, "--upload-expiry", "0")
        assert not list((served.directory / "uploads").iterdir())
        assert files(served.directory) == rows(served.directory)
    finally:
        served.stop()


def assert_whole(directory: Path, hashed: set[str]) -> None:
    """Every file under a digest has it (those of this round are read), and every row has its file."""
    for path in (directory / "blobs/sha256").iterdir():
        if path.name not in hashed:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            hashed.add(path.name)
    assert rows(directory) <= files(directory)


def files(directory: Path) -> set[str]:
    return {f"sha256:{path.name}" for path in (directory / "blobs/sha256").iterdir()}


def rows(directory: Path) -> set[str]:
    connection = sqlite3.connect(directory / "registry.db", timeout=30)
    try:
        return {row[0] for row in connection.execute("SELECT digest FROM blobs")}
    finally:
        connection.close()


@pytest.mark.parametrize("blobs", [0, 3])
def test_disk_full(world: World, tmp_path: Path, blobs: int) -> None:
    """The client is told, the server goes on, and nothing of the blob stays."""
    import subprocess

    disk = world.directory / f"full{blobs}"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    served = None
    try:
        served = Served(disk / "registry", "--gc-interval", "0")
        for number in range(blobs):
            served.push_blob("a", bytes([number]) * 100_000)
        data = os.urandom(3 << 20)
        answer = served("POST", f"/v2/a/blobs/uploads/?digest={sha256(data)}", data)
        assert (answer.status, answer.code) == (507, "DENIED")
        assert not list((served.directory / "uploads").iterdir())
        location = served("POST", "/v2/a/blobs/uploads/").headers["Location"]
        assert served("PATCH", location, data).status == 507
        assert served("PUT", f"{location}?digest={sha256(data)}").code == "BLOB_UPLOAD_UNKNOWN"
        assert not list((served.directory / "uploads").iterdir())
        served.push_blob("a", b"small")
    finally:
        if served is not None:
            served.stop()
        subprocess.run(["umount", "-l", disk], check=True)
