"""Small things that every list needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def printable(text: str) -> str:
    """Without control characters: what an image or a user put into a name must not command the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def confirmed(warning: str, force: bool = False) -> bool:
    """Ask before something is deleted. No terminal and no answer mean no."""
    if force:
        return True
    sys.stdout.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def print_documents(documents: Iterable[Mapping[str, Any]], form: str | None) -> None:
    """What `inspect` found: a JSON array, or the template for each, or one JSON object per line."""
    if form is None or form == "":
        import json

        print(json.dumps(list(documents), indent=4, ensure_ascii=False))
        return
    for document in documents:
        if form == "json":
            import json

            print(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        else:
            from pyd.cli.table import unescape
            from pyd.cli.template import render

            print(render(unescape(form), document))
