"""Differences that two builds of one Dockerfile may have: each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

WHATS = ("missing", "extra", "kind", "mode", "owner", "link", "device", "xattrs", "content")


@dataclass(frozen=True)
class Allowance:
    paths: str
    """A pattern of paths without the leading slash, or `config KEY`; `*` crosses slashes."""
    why: str
    what: str = "content"
    """One of WHATS, or several with commas."""

    def __post_init__(self) -> None:
        assert set(self.what.split(",")) <= set(WHATS), self.what
        assert self.why, self.paths

    def covers(self, path: str, what: str) -> bool:
        return what in self.what.split(",") and fnmatchcase(path, self.paths)


QUIRKS: dict[str, tuple[Allowance, ...]] = {
    "buildah": (
        Allowance("etc/hostname", "what it mounts over stays in the layer of a RUN", "missing,extra"),
        Allowance("run", "what it mounts over stays in the layer of a RUN", "missing,extra"),
    ),
}
"""Of one engine, in every case."""

GROUPS: dict[str, tuple[Allowance, ...]] = {
    "apt": (
        Allowance("var/log/apt/*", "times of the installation"),
        Allowance("var/log/dpkg.log", "times of the installation"),
        Allowance("var/log/alternatives.log", "times of the installation"),
        Allowance("var/cache/ldconfig/aux-cache", "inode numbers and times of libraries"),
        Allowance("var/cache/apt/*.bin", "times of the package lists"),
    ),
    "jar": (Allowance("*.jar", "times of its entries"),),
}
