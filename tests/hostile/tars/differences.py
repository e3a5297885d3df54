"""Why pyd may read an archive otherwise than GNU tar or Python. What has no reason here is a bug."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.hostile.tars.blocks import BLOCK, USTAR
from tests.hostile.tars.tree import Entry, Node, Path, with_links_named


@dataclass(frozen=True)
class Difference:
    """`name`: of the class when it has a reason, else what differs; "" when nothing does."""

    name: str
    is_reasoned: bool = False


@dataclass(frozen=True)
class Case:
    reader: str
    archive: bytes
    entries: list[Entry]
    ours: dict[Path, Node]
    theirs: dict[Path, Node] | None
    reason: str  # why the rules do not take the other's entries


def difference(
    reader: str,
    archive: bytes,
    ours: dict[Path, Node],
    theirs: dict[Path, Node] | None,
    reason: str,
    entries: list[Entry],
) -> Difference:
    case = Case(
        reader, archive, entries, ours, with_links_named(theirs) if theirs is not None else None, reason
    )
    what = _what_differs(case)
    if not what:
        return Difference("")
    for name, applies in REASONS.items():
        if applies(case):
            return Difference(name, True)
    return Difference(what)


def _what_differs(case: Case) -> str:
    if case.theirs is None:
        return f"pyd unpacks what the rules refuse for its entries: {case.reason}"
    for path in sorted(case.ours.keys() | case.theirs.keys()):
        one, other = case.ours.get(path), case.theirs.get(path)
        if one is None or other is None:
            return f"{path}: {one} is not {other}"
        for name in ("kind", "size", "content", "link", "device", "inode", "mode", "owner"):
            mine, its = getattr(one, name), getattr(other, name)
            # None: one of them does not say
            if mine != its and mine is not None and its is not None:
                return f"{path}: {name} {mine!r} is not {its!r}"
    return ""


def _prefix_in_gnu_header(case: Case) -> bool:
    """GNU's headers have times where ustar has a prefix. GNU tar and Go know that, as pyd does; Python puts
    what is there before the name, except for sparse files.
    """
    blocks = (case.archive[start : start + BLOCK] for start in range(0, len(case.archive), BLOCK))
    return case.reader == "python" and any(
        block[257:262] == b"ustar" and block[257:265] != USTAR and any(block[345:500]) for block in blocks
    )


# class -> whether it explains the case; each says why pyd reads as it does
REASONS: dict[str, Callable[[Case], bool]] = {"prefix in a header of GNU's": _prefix_in_gnu_header}
