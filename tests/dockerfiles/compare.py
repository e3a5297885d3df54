"""What differs between two images of one Dockerfile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.dockerfiles.allowed import Allowance
from tests.dockerfiles.archive import Entry, Image

CONFIG_KEYS = (
    *("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes"),
    *("Healthcheck", "OnBuild", "StopSignal", "Shell"),
)


@dataclass(frozen=True)
class Difference:
    path: str
    """Without the leading slash, or `config KEY`."""
    what: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        place = self.path if self.path.startswith("config ") else f"/{self.path}"
        return f"{place}: {self.what}: {self.ours} beside {self.theirs}"


def differences(ours: Image, theirs: Image) -> list[Difference]:
    """Of configuration and files; times are no part of it."""
    return [*_of_config(ours.config, theirs.config), *_of_files(ours, theirs)]


def split(
    found: Iterable[Difference], allowances: Iterable[Allowance]
) -> tuple[list[Difference], list[Difference]]:
    """Those that are not allowed, and those that are."""
    allowances = tuple(allowances)
    bad: list[Difference] = []
    good: list[Difference] = []
    for difference in found:
        allowed = any(allowance.covers(difference.path, difference.what) for allowance in allowances)
        (good if allowed else bad).append(difference)
    return bad, good


def _of_config(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterable[Difference]:
    for key in CONFIG_KEYS:
        # an empty list, an empty map and nothing at all mean the same
        mine, other = ours.get(key) or None, theirs.get(key) or None
        if mine != other:
            yield Difference(f"config {key}", "content", repr(mine), repr(other))


def _of_files(ours: Image, theirs: Image) -> Iterable[Difference]:
    for path in sorted(ours.files.keys() | theirs.files.keys()):
        mine, other = ours.files.get(path), theirs.files.get(path)
        if mine is None:
            assert other is not None
            yield Difference(path, "missing", "nothing", other.kind)
        elif other is None:
            yield Difference(path, "extra", mine.kind, "nothing")
        elif mine != other:
            yield from _of_entries(path, mine, other)


def _of_entries(path: str, ours: Entry, theirs: Entry) -> Iterable[Difference]:
    if ours.kind != theirs.kind:
        yield Difference(path, "kind", ours.kind, theirs.kind)
        return
    for what in ("mode", "owner", "link", "device", "xattrs", "content"):
        mine, other = getattr(ours, what), getattr(theirs, what)
        if mine != other:
            show = oct if what == "mode" else str
            yield Difference(path, what, show(mine)[:64], show(other)[:64])
