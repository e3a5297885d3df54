"""Archives by the thousand: unpacked by pyd beside a canary, and compared with what GNU tar and Python read.

Each one must be refused with an error of pyd's, or come out as the entries say that another reader found,
by rules that are written twice (tree.py). A difference has a reason in differences.py, or is a failure.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from pyd import _native
from pyd.errors import CorruptData, KernelError, NotSupported, PydError
from tests.hostile.tars.damage import damaged
from tests.hostile.tars.differences import difference
from tests.hostile.tars.grammar import Grammar
from tests.hostile.tars.readings import by_gnu_tar, by_python, on_disk
from tests.hostile.tars.tree import Entry, Refused, built

CANARY = b"alive"


@dataclass(frozen=True)
class Outcome:
    """`failure` is empty when all is well."""

    fate: str  # refused, or unpacked
    failure: str = ""
    classes: tuple[str, ...] = ()  # of differences from the others that have their reason
    seconds: float = 0.0


def archive_of(seed: int) -> bytes:
    random = Random(seed)
    return damaged(Grammar(random).archive(), random)


class Place:
    """A directory with room for one layer, and beside it what nobody may touch."""

    def __init__(self) -> None:
        shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.root = tempfile.mkdtemp(prefix="pyd-tars-", dir=shm)
        self.dest, self.out, self.empty = (f"{self.root}/{name}" for name in ("dest", "out", "empty"))
        os.mkdir(self.out)
        os.mkdir(self.empty)
        with open(f"{self.out}/canary", "wb") as file:
            file.write(CANARY)
        self._before = self._look()

    def close(self) -> None:
        shutil.rmtree(self.root)

    def is_untouched(self) -> bool:
        names = set(os.listdir(self.root)) - {"dest", "blob"}
        return names == {"out", "empty"} and self._look() == self._before

    def _look(self) -> list[tuple[object, ...]]:
        seen: list[tuple[object, ...]] = []
        for path in (self.out, self.empty, f"{self.out}/canary"):
            state = os.lstat(path)
            seen.append((state.st_mode, state.st_uid, state.st_gid, state.st_mtime_ns, state.st_ctime_ns))
        seen.append((os.listdir(self.out), os.listdir(self.empty)))
        with open(f"{self.out}/canary", "rb") as file:
            seen.append((file.read(),))
        return seen


def run(seed: int, place: Place) -> Outcome:
    """One archive."""
    random = Random(~seed)
    archive = archive_of(seed)
    os.mkdir(place.dest)
    begun = time.monotonic()
    try:
        try:
            _unpack(archive, place, random)
            refusal = ""
        except (CorruptData, NotSupported) as error:
            refusal = str(error)
        except KernelError as error:
            # a sparse file that no file system can hold; everything else must be found before the kernel does
            if not error.message.endswith("file too large"):
                return Outcome("refused", f"the kernel had to say no: {error}")
            refusal = str(error)
        except PydError as error:
            return Outcome("refused", f"{type(error).__name__}: {error}")
        seconds = time.monotonic() - begun
        if "\n" in refusal or not refusal.isprintable() or len(refusal) > 600:
            return Outcome("refused", f"not one sentence: {refusal!r}")
        if not place.is_untouched():
            return Outcome("refused" if refusal else "unpacked", "something outside was changed")
        if refusal:
            return Outcome("refused", seconds=seconds)
        failure, classes = _compared(archive, place)
        if not place.is_untouched():
            failure = failure or "the comparison changed something outside"
        return Outcome("unpacked", failure, classes, seconds)
    finally:
        _native.remove_tree(place.dest)


def _unpack(archive: bytes, place: Place, random: Random) -> None:
    """Through the store's door or the registry's, plain or compressed, in pieces of any size."""
    data = archive
    if random.random() < 0.2:
        half = random.randrange(len(data) + 1)
        data = gzip.compress(data[:half], 1) + gzip.compress(data[half:], 1)
        if random.random() < 0.1:
            at = random.randrange(len(data))
            data = data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
    diff_id = "sha256:" + hashlib.sha256(archive).hexdigest()
    blob = f"{place.root}/blob"
    if random.random() < 0.5:
        with open(blob, "wb") as file:
            file.write(data)
        layer = _native.unpack_blob(blob, place.dest, diff_id=diff_id)
    else:
        if os.path.exists(blob):
            os.unlink(blob)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        ingest = _native.LayerIngest(
            blob, place.dest, media_type="", digest=digest, size=len(data), diff_id=diff_id
        )
        try:
            step = random.choice((1, 7, 511, 512, 4096, 1 << 20)) if len(data) < 20_000 else 4096
            for start in range(0, len(data), step):
                ingest.write(data[start : start + step])
            layer = ingest.finish()
        except BaseException:
            ingest.abort()
            raise
    _native.settle_layer(layer, place.dest, [])


def _compared(archive: bytes, place: Place) -> tuple[str, tuple[str, ...]]:
    """(a difference without a reason, the classes of those that have one)"""
    ours = on_disk(os.fsencode(place.dest))
    classes = []
    for reader, entries in _readings(archive, place):
        reason = ""
        try:
            theirs = None if entries is None else built(entries)
        except Refused as refused:
            theirs, reason = None, str(refused)
        if entries is None:
            continue  # refused by a reader that is stricter here, or could not tell
        found = difference(reader, archive, ours, theirs, reason, entries)
        if found.is_reasoned:
            classes.append(found.name)
        elif found.name:
            return f"{reader}: {found.name}", tuple(classes)
    return "", tuple(classes)


def _readings(archive: bytes, place: Place) -> Iterator[tuple[str, list[Entry] | None]]:
    for reader in ("python", "gnu"):
        try:
            yield reader, by_python(archive) if reader == "python" else by_gnu_tar(archive, place.empty)
        except Refused:
            yield reader, None
