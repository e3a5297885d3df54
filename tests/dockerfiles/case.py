"""One case: its directory, and what its case.toml says."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.dockerfiles.allowed import GROUPS, Allowance

CASES = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    name: str
    directory: Path
    about: str
    """One sentence: what it is, and what is in it that builders get wrong."""
    output: str
    """A regular expression that is found in what the image prints."""
    bases: tuple[str, ...] = ("busybox",)
    """Images of tests.images; the Dockerfile has them as ${REGISTRY}/NAME."""
    network: bool = False
    """Its steps reach package registries."""
    dockerfile: str = "Dockerfile"
    """Below context/."""
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    """id -> a file of secrets/, or `certificates`, `java-certificates`: those of this machine."""
    contexts: dict[str, str] = field(default_factory=dict)
    """Name -> a directory of contexts/, or `image:NAME`."""
    options: tuple[str, ...] = ()
    """More words for `build`."""
    before: str = ""
    """A Dockerfile below context/ that is built first, as `corpus-CASE-base`."""
    setup: str = ""
    """A shell script that completes the copy of the context: what git does not keep."""
    command: tuple[str, ...] = ()
    """For `run`, in place of the image's Cmd."""
    allow: tuple[Allowance, ...] = ()
    only: tuple[str, ...] = ()
    """Engines other than pyd that can build it; empty: all."""

    @property
    def fast(self) -> bool:
        """Whether the suite builds it: no network, and the two smallest images of the suite."""
        return not self.network and set(self.bases) <= {"busybox", "python"}

    def dockerfile_text(self, engine: str) -> str:
        """For an engine of before heredocs its own file, if there is one, and no `# syntax=`: that would be
        fetched.
        """
        own = self.directory / "Dockerfile.docker"
        if engine == "pyd":
            return (self.directory / "context" / self.dockerfile).read_text()
        text = (own if own.exists() else self.directory / "context" / self.dockerfile).read_text()
        return re.sub(r"\A# *syntax *=.*\n", "", text)


def load(name: str) -> Case:
    """ValueError when the case.toml has what nobody reads."""
    directory = CASES / name
    document: dict[str, Any] = tomllib.loads((directory / "case.toml").read_text())
    unknown = document.keys() - Case.__dataclass_fields__.keys() - {"groups"}
    if unknown:
        raise ValueError(f"{directory / 'case.toml'}: unknown {', '.join(sorted(unknown))}")
    groups = [allowance for group in document.pop("groups", []) for allowance in GROUPS[group]]
    own = [Allowance(**entry) for entry in document.pop("allow", [])]
    for key in ("bases", "options", "command", "only"):
        if key in document:
            document[key] = tuple(document[key])
    return Case(name=name, directory=directory, allow=(*groups, *own), **document)


def names() -> list[str]:
    return sorted(path.parent.name for path in CASES.glob("*/case.toml"))
