"""The picture of `image explore`: areas are sizes, nothing lies outside of what it is in."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from itertools import combinations

import pytest

from pyd.cli.treemap import treemap
from pyd.engine.image_explore import Node

Box = tuple[float, float, float, float]


def boxes(root: Node) -> list[tuple[str, Box]]:
    """(title, rectangle) of everything that is drawn, in order; the picture is well-formed XML."""
    svg = ET.fromstring("\n".join(treemap(root, 1000, 600)))
    found = []
    for group in svg.iter("g"):
        title, rect = group.find("title"), group.find("rect")
        assert title is not None and rect is not None
        x, y, width, height = (float(rect.get(name) or "") for name in ("x", "y", "width", "height"))
        found.append((title.text or "", (x, y, width, height)))
    return found


def inside(inner: Box, outer: Box, slack: float = 0.2) -> bool:
    return (
        inner[0] >= outer[0] - slack
        and inner[1] >= outer[1] - slack
        and inner[0] + inner[2] <= outer[0] + outer[2] + slack
        and inner[1] + inner[3] <= outer[1] + outer[3] + slack
    )


def overlap(one: Box, other: Box) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)


@pytest.mark.parametrize("seed", range(5))
def test_areas_are_sizes(seed: int) -> None:
    source = random.Random(seed)
    sizes = sorted((int(10 ** source.uniform(5, 7)) for _ in range(source.randint(1, 30))), reverse=True)
    root = Node("", "", sum(sizes), len(sizes), 0, True)
    root.children = [Node(f"f{n}", f"f{n}", size, 1, n) for n, size in enumerate(sizes)]
    (_, whole), *parts = boxes(root)
    room = (1000 - 4) * (600 - 16)
    for (title, box), size in zip(parts, sizes, strict=False):
        assert title.startswith("/f") and inside(box, whole)
        expected = room * size / sum(sizes)
        # coordinates are written with one digit
        assert box[2] * box[3] == pytest.approx(expected, rel=0.05, abs=80)
    assert len(parts) == len(sizes) or sizes[len(parts)] * room / sum(sizes) < 3 * 600
    assert all(overlap(one, other) < 60 for (_, one), (_, other) in combinations(parts, 2))


def test_names_are_escaped_and_nested() -> None:
    root = Node("", "", 100, 1, 0, True)
    deep = Node("<b>&\x1b", "<b>&\x1b", 100, 1, 3, True)
    deep.children = [Node('"x"', '<b>&\x1b/"x"', 100, 1, 1)]
    root.children = [deep]
    (_, outer), (title, middle), (_, inner) = boxes(root)
    assert inside(inner, middle) and inside(middle, outer)
    assert title == "/<b>&\\x1b  100B  layer 3"


def test_nothing_at_all() -> None:
    assert len(boxes(Node("", "", 0, 0, 0, True))) == 1
