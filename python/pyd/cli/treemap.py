"""A treemap as SVG: rectangles whose areas are sizes, nested as directories are.

Squarified (Bruls, Huizing, van Wijk 2000): rows are filled along the shorter side as long as that makes the
rectangles in them less oblong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from pyd.cli.human import printable
from pyd.sizes import decimal_size

if TYPE_CHECKING:
    from pyd.engine.image_explore import Node

Box = tuple[float, float, float, float]  # x, y, width, height

_TITLE = 14.0  # height of a directory's title
_LEAST = 3.0  # sides below this are not drawn: the title of what is around it has the sum
# one for each layer, again and again: told apart by those who see few colours too (Okabe and Ito)
COLOURS = ("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#0072b2", "#d55e00", "#999999")


def treemap(root: Node, width: float = 1200, height: float = 700) -> Iterator[str]:
    """Lines of an <svg> element; colours are the layers'."""
    yield f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="Sizes of files and directories">'
    yield from _node(root, (0, 0, width, height), 6)
    yield "</svg>"


def colour(layer: int) -> str:
    return COLOURS[layer % len(COLOURS)]


def _node(node: Node, box: Box, depth: int) -> Iterator[str]:
    x, y, width, height = box
    if width < _LEAST or height < _LEAST:
        return
    fill = "#ffffff" if node.is_directory else colour(node.layer)
    tip = escape(f"{printable('/' + node.path)}  {decimal_size(node.bytes)}  layer {node.layer}")
    yield (
        f'<g><title>{tip}</title><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{fill}" stroke="#444" stroke-width="0.5"/>'
    )
    room = int((width - 6) / 6.2)  # letters of 10 px
    if room >= 3 and height >= _TITLE:
        name = printable(node.name or "/")
        shown = name if len(name) <= room else name[: room - 1] + "…"
        yield f'<text x="{x + 3:.1f}" y="{y + 10.5:.1f}">{escape(shown)}</text>'
    yield "</g>"
    if node.is_directory and depth:
        inner = (x + 2, y + _TITLE, width - 4, height - _TITLE - 2)
        children = [child for child in node.children if child.bytes]
        for child, place in zip(children, _squarified([c.bytes for c in children], inner), strict=False):
            yield from _node(child, place, depth - 1)


def _squarified(sizes: Sequence[int], box: Box) -> Iterator[Box]:
    """A rectangle for each of `sizes` (descending), until they become too small to be seen."""
    x, y, width, height = box
    total = sum(sizes)
    if total <= 0 or width <= 0 or height <= 0:
        return
    scale = width * height / total
    areas = [size * scale for size in sizes]
    start = 0
    while start < len(areas):
        side = min(width, height)
        if side < _LEAST:
            return
        end, row = start + 1, areas[start]
        worst = _oblong(areas[start], areas[start], row, side)
        while end < len(areas):
            longer = row + areas[end]
            now = _oblong(areas[start], areas[end], longer, side)
            if now > worst:
                break
            end, row, worst = end + 1, longer, now
        thick = row / side
        along = 0.0
        for area in areas[start:end]:
            length = area / thick
            if width >= height:
                yield x, y + along, thick, length
            else:
                yield x + along, y, length, thick
            along += length
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
        start = end


def _oblong(greatest: float, least: float, row: float, side: float) -> float:
    """The worst ratio of sides in a row with this sum of areas."""
    return max(side * side * greatest / (row * row), row * row / (side * side * least))
