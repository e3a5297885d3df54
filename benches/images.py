"""The three images of the pull scenario, made of deterministic files and served from a registry on
loopback.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.images.builder import cache_root
from tests.images.layers import Layer, LayerWriter, write_layout
from tests.support.registry import Registry

# case: layers, entries in all, MB in all (at scale 1)
CASES = {
    "5 layers, 799 MB, 31k entries": (5, 31_000, 799),
    "1 layer, 1077 MB": (1, 2_000, 1077),
    "40 layers, 39 MB": (40, 2_000, 39),
}


def _layer(path: Path, number: int, entries: int, size: int) -> Layer:
    """Files of text that compresses about two to one, as programs do; every 20 files are a directory."""
    source = random.Random(number)
    words = [source.randbytes(source.randint(3, 12)).hex() for _ in range(4096)]
    block = " ".join(source.choice(words) for _ in range(60_000))
    writer = LayerWriter(path)
    each = max(1, size // entries)
    for index in range(entries):
        directory = f"usr/share/bench/{number}/{index // 20}"
        if index % 20 == 0:
            writer.directory(directory)
        offset = source.randrange(len(block) // 2)
        text = block[offset : offset + min(each, len(block) // 2)]
        writer.text(f"{directory}/{index}", 0o644, (text * (each // len(text) + 1))[:each])
    return writer.finish()


def layout(case: str, scale: float) -> Path:
    count, entries, megabytes = CASES[case]
    place = cache_root() / f"bench-{count}-{entries}-{megabytes}-{scale:g}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with TemporaryDirectory(dir=cache_root()) as scratch:
            layers = [
                _layer(
                    Path(scratch) / f"{number}.tar.gz",
                    number,
                    max(1, int(entries * scale) // count),
                    int(megabytes * 1_000_000 * scale) // count,
                )
                for number in range(count)
            ]
            write_layout(Path(scratch) / "layout", "latest", layers, {"Cmd": ["true"]})
            (Path(scratch) / "layout").rename(place)
    return place


@contextmanager
def served_images(scale: float) -> Iterator[dict[str, str]]:
    """case -> reference; the registry lives as long as the context."""
    with TemporaryDirectory(prefix="pyd-bench-registry-") as directory:
        registry = Registry(Path(directory) / "registry")
        try:
            yield {
                case: registry.push(layout(case, scale), f"bench{number}")
                for number, case in enumerate(CASES)
            }
        finally:
            registry.stop()
