"""`image explore --html`: one file that needs nothing else, no script and no network.

Every name comes from an image, so every text goes through `_text`: escaped for HTML, and without characters
that are not to be printed. The page forbids itself everything that could be loaded or run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from pyd.cli.human import printable
from pyd.cli.treemap import colour, treemap
from pyd.sizes import decimal_size

if TYPE_CHECKING:
    from pyd.engine.image_explore import Explored, LayerView

_ROWS = 200  # of each table

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em auto; max-width: 1240px; padding: 0 1em }
svg { width: 100%; height: auto; border: 1px solid #444 }
svg text { font: 10px sans-serif }
table { border-collapse: collapse; margin: .5em 0 }
td, th { padding: 2px 10px 2px 0; text-align: left; vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
code { font: 12px monospace; word-break: break-all }
.bar { display: flex; height: 22px; border: 1px solid #444 }
.key { display: inline-block; width: 12px; height: 12px; border: 1px solid #444; margin-right: 6px }
summary { font-weight: 600; margin-top: 1em; cursor: pointer }
</style>
"""


def page(found: Explored, name: str) -> str:
    """The whole document."""
    return "\n".join(_page(found, name)) + "\n"


def _page(found: Explored, name: str) -> Iterable[str]:
    yield f"{_HEAD}<title>{_text(name)}</title>\n</head>\n<body>"
    yield f"<h1>{_text(name)}</h1>"
    yield f"<p><code>{_text(found.image.id)}</code>, {_text(found.image.platform)}</p>"
    yield (
        f"<p>{_size(found.stored)} in {len(found.layers)} layers: {_size(found.visible[1])} in "
        f"{found.visible[0]} files are visible, {_size(found.wasted[1])} are wasted on files that a later "
        f"layer replaces or removes. Efficiency {found.efficiency:.1%}.</p>"
    )
    yield from treemap(found.tree)
    yield "<h2>Layers</h2>"
    yield from _bar(found)
    yield from _table(
        ("", "Layer", "#Size", "#Added", "#Changed", "#Removed", "#Wasted", "Made by"),
        (_layer(number, layer) for number, layer in enumerate(found.layers)),
    )
    for number, layer in enumerate(found.layers):
        yield f"<details><summary>Layer {number}, {_size(layer.bytes)}: the biggest of it</summary>"
        yield from _table(
            ("#Bytes", "What", "Path"),
            ((_size(size), kind, _path(path)) for kind, path, size in layer.events[:_ROWS]),
        )
        yield "</details>"
    yield f"<details><summary>Wasted, {_size(found.wasted[1])}</summary>"
    yield from _table(
        ("#Bytes", "Layers", "Path"),
        ((_size(size), _text(layers), _path(path)) for path, size, layers in found.wastes[:_ROWS]),
    )
    yield f"</details>\n<details><summary>Files with the same content, {_size(found.copied[1])}</summary>"
    yield from _table(
        ("#Bytes", "Where"),
        (
            (_size(size), "<br>".join(f"{_path(path)} (layer {layer})" for layer, path in places[:20]))
            for size, places in found.copies[:_ROWS]
        ),
    )
    yield "</details>\n<details open><summary>Biggest files</summary>"
    yield from _table(
        ("#Bytes", "Layer", "Path"),
        ((_size(size), str(layer), _path(path)) for path, size, layer in found.files[:50]),
    )
    yield "</details>\n<details><summary>Biggest directories</summary>"
    yield from _table(
        ("#Bytes", "#Files", "Path"),
        ((_size(node.bytes), str(node.files), _path(node.path)) for node in found.directories[:50]),
    )
    yield "</details>\n</body>\n</html>"


def _bar(found: Explored) -> Iterable[str]:
    """The layers side by side, as long as they are big."""
    yield '<div class="bar">'
    for number, layer in enumerate(found.layers):
        share = 100 * layer.bytes / found.stored if found.stored else 0
        tip = f"layer {number}: {decimal_size(layer.bytes)}"
        yield f'<div title="{tip}" style="width: {share:.2f}%; background: {colour(number)}"></div>'
    yield "</div>"


def _layer(number: int, layer: LayerView) -> Sequence[str]:
    return (
        f'<span class="key" style="background: {colour(number)}"></span>',
        str(number),
        _size(layer.bytes),
        *(f"{files} ({_size(size)})" for files, size in (layer.added, layer.changed, layer.removed)),
        _size(layer.wasted[1]),
        f"<code>{_text(layer.created_by[:2000])}</code>",
    )


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """`rows` are HTML already. A title that begins with # is that of a column of numbers."""
    numbers = [' class="n"' if title.startswith("#") else "" for title in titles]
    yield "<table><tr>" + "".join(
        f"<th{kind}>{title.lstrip('#')}</th>" for kind, title in zip(numbers, titles, strict=True)
    )
    for row in rows:
        yield "<tr>" + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(numbers, row, strict=True))
    yield "</table>"


def _text(value: object) -> str:
    return escape(printable(str(value)))


def _path(path: str) -> str:
    return f"<code>{_text('/' + path)}</code>"


def _size(count: int) -> str:
    return decimal_size(count)
