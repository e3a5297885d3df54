"""Who may import whom: cli -> engine -> {build, registry, network, runtime} -> store -> oci -> errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "python" / "pyd"
LEAVES = {"errors", "config", "paths", "record", "sizes", "_native"}
ALLOWED = {
    "cli": {"engine"},
    "engine": {"build", "registry", "network", "runtime", "store", "oci"},
    "build": {"registry", "runtime", "network", "store", "oci"},
    "registry": {"store", "oci"},
    "network": {"store", "oci"},
    "runtime": {"store", "oci"},
    "store": {"oci"},
    "oci": set[str](),
}
NATIVE = {"store", "network", "runtime", "build"}


def rooms() -> list[str]:
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of each import of pyd in a file, those inside functions and of TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [f"pyd.{alias.name}" for alias in node.names] if node.module == "pyd" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name.split(".")[1]) for name in names if name.startswith("pyd."))


@pytest.mark.parametrize("room", rooms())
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    allowed = ALLOWED[room] | {room} | LEAVES | {"__version__"}
    if room not in NATIVE:
        allowed -= {"_native"}
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports pyd.{target}"
        for path in (PACKAGE / room).rglob("*.py")
        for line, target in imported(path)
        if target not in allowed
    ]
    assert not wrong, "\n".join(wrong)
