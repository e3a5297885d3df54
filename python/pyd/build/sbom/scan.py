"""All packages of a stage's files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyd.build.sbom import languages, programs, system
from pyd.build.sbom.package import Package
from pyd.build.sbom.system import Distribution
from pyd.build.sbom.tree import Tree

MAX_PACKAGES = 100_000
_MAX_PLACES = 20  # files that are named for one package


@dataclass(frozen=True, slots=True)
class Found:
    """packages: by purl, each once, with the files that say that it is here."""

    system: Distribution
    packages: tuple[tuple[Package, tuple[str, ...]], ...]


def scan(layers: Sequence[str]) -> Found:
    """`layers`: directories, top first. The same files give the same result."""
    tree = Tree(layers)
    release = system.distribution(tree)
    places: dict[str, tuple[Package, set[str]]] = {}
    for one in _all(tree, release):
        if one is None:
            continue
        if one.purl not in places and len(places) >= MAX_PACKAGES:
            break
        places.setdefault(one.purl, (one, set()))[1].add(f"/{one.place.lstrip('/')}")
    return Found(
        release,
        tuple(
            (one, tuple(sorted(where)[:_MAX_PLACES]))
            for _, (one, where) in sorted(places.items(), key=lambda item: item[0])
        ),
    )


def _all(tree: Tree, release: Distribution) -> Iterator[Package | None]:
    yield from system.dpkg(tree, release)
    yield from system.apk(tree, release)
    yield from system.rpm(tree, release)
    for file in tree.walk():
        yield from languages.of(file)
        yield from programs.of(file)
