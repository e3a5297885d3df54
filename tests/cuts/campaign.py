"""The two campaigns. Each gives back figures, and raises AssertionError when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cuts.proxy import CuttingProxy
from tests.images.layers import LayerWriter, write_layout
from tests.support.registry import Registry

MOST = 1.1
"""Times the image that may come over the wire."""
_PYD = (sys.executable, "-m", "pyd.cli.main")


@dataclass(frozen=True)
class Figures:
    what: str
    image: int  # bytes of all blobs and the manifest
    fetched: int  # bytes from the server, headers included, for one image on average
    worst: float  # of one pull, as a multiple of the image
    seconds: float

    @property
    def ratio(self) -> float:
        return self.fetched / self.image

    def __str__(self) -> str:
        return (
            f"{self.what}: image {self.image:,} bytes, fetched {self.fetched:,} ({self.ratio:.3f} x, "
            f"worst {self.worst:.3f} x), {self.seconds:.0f} s"
        )


class Store:
    """A data-root of its own and the commands on it."""

    def __init__(self, directory: Path) -> None:
        self.data = directory / "data"
        self._environment = {
            **os.environ,
            "PYD_DATA_ROOT": str(self.data),
            "PYD_RUN_ROOT": str(directory / "run"),
            "PYD_CONFIG": str(directory / "config.json"),
            "DOCKER_CONFIG": str(directory / "docker"),
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*_PYD, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> str:
        process = self.start(*words)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, f"pyd {' '.join(words)}: {output}"
        return output

    def files(self) -> dict[str, str]:
        """path below its layer -> digest, of every unpacked file; every blob is what its name says."""
        for blob in (self.data / "content" / "sha256").iterdir():
            assert _digest(blob) == blob.name, f"{blob} does not match its name"
        found = {}
        for root in (self.data / "snapshots").iterdir():
            for path in root.rglob("*"):
                if path.is_file():
                    found[str(path.relative_to(root))] = _digest(path)
        return found

    def forget(self, reference: str) -> None:
        """Remove the image and see that nothing is left."""
        self.run("rmi", "-f", reference)
        until = time.monotonic() + 60
        while (left := self._left()) and time.monotonic() < until:
            time.sleep(0.02)
        assert not left, f"left in the store: {left}"
        with sqlite3.connect(self.data / "pyd.db") as database:
            for table in ("images", "image_blobs", "image_layers", "snapshots"):
                (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert count == 0, f"{count} rows left in {table}"

    def _left(self) -> list[str]:
        places = ("content/sha256", "ingest", "snapshots", "trash")
        return [str(path) for place in places for path in (self.data / place).iterdir()]


def cuts(count: int, megabytes: int, seed: int = 1) -> Figures:
    """Pulls of an image over a proxy that resets connections at arbitrary bytes, `count` in all."""
    with _served(megabytes, seed) as (registry, name, size, directory):
        store = Store(directory / "cut")
        begin, image, worst, total, pulls = time.monotonic(), size, 0.0, 0, 0
        left = count
        files: dict[str, str] = {}
        while left > 0:
            # a pull meets about as many as it would on a bad line: one every 64 kB
            most = min(left, max(1, image // (64 << 10)))
            with CuttingProxy(registry.port, cuts=most, longest=96 << 10, seed=seed + pulls) as proxy:
                reference = f"{proxy.host}/{name}"
                store.run("pull", "-q", reference)
                files = _same(files, store.files())
                store.forget(reference)
                met = most - max(0, proxy.cuts_left)
                assert met > 0
                left -= met
                pulls += 1
                total += proxy.passed
                worst = max(worst, proxy.passed / image)
        figures = Figures(
            f"{count - left} cuts in {pulls} pulls", image, total // pulls, worst, time.monotonic() - begin
        )
    assert figures.ratio <= MOST, str(figures)
    return figures


def kills(count: int, megabytes: int, seed: int = 1) -> Figures:
    """Pullers that are killed at random instants, each followed by one that finishes the work."""
    chance = random.Random(seed)
    with _served(megabytes, seed) as (registry, name, size, directory):
        store = Store(directory / "killed")
        # slow enough that the transfer is most of the time
        with CuttingProxy(registry.port, rate=size) as proxy:
            reference = f"{proxy.host}/{name}"
            began = time.monotonic()
            store.run("pull", "-q", reference)
            whole = time.monotonic() - began
            files = store.files()
            store.forget(reference)
            begin, worst, total, interrupted = time.monotonic(), 0.0, 0, 0
            for _ in range(count):
                proxy.passed = 0
                process = store.start("pull", "-q", reference)
                time.sleep(chance.uniform(0, whole))
                os.killpg(process.pid, signal.SIGKILL)
                interrupted += process.wait() == -signal.SIGKILL
                if process.stdout:
                    process.stdout.close()
                store.run("pull", "-q", reference)
                _same(files, store.files())
                store.forget(reference)
                total += proxy.passed
                worst = max(worst, proxy.passed / size)
            what = f"{count} kills ({interrupted} before the end of the pull)"
            figures = Figures(what, size, total // count, worst, time.monotonic() - begin)
    assert figures.ratio <= MOST, str(figures)
    return figures


def _same(expected: dict[str, str], found: dict[str, str]) -> dict[str, str]:
    assert found and (not expected or expected == found), "the files differ from those of an undisturbed pull"
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _served(megabytes: int, seed: int) -> Iterator[tuple[Registry, str, int, Path]]:
    """(registry, name, bytes of the image, scratch): one large layer and four small ones."""
    with TemporaryDirectory(prefix="pyd-cuts-") as scratch:
        directory = Path(scratch)
        source = random.Random(seed)
        layers = []
        for number, share in enumerate((0.6, 0.1, 0.1, 0.1, 0.1)):
            writer = LayerWriter(directory / f"{number}.tar.gz")
            writer.directory(f"data{number}")
            for index in range(10):
                text = source.randbytes(int(megabytes * share * 1e5 / 2)).hex()
                writer.text(f"data{number}/{index}", 0o644, text)
            layers.append(writer.finish())
        layout = directory / "layout"
        write_layout(layout, "latest", layers, {"Cmd": ["true"]})
        size = sum(path.stat().st_size for path in (layout / "blobs" / "sha256").iterdir())
        registry = Registry(directory / "registry")
        try:
            registry.push(layout, "cuts")
            (directory / "config.json").write_text(json.dumps({}))
            yield registry, "cuts:latest", size, directory
        finally:
            registry.stop()
