"""The controls are only in the program of the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.oci import RUNTIME, TOP


def names() -> set[str]:
    """Every protection that can be switched off."""
    found = set()
    for source in (TOP / "rust/runtime/src").rglob("*.rs"):
        found |= set(re.findall(r'weakness::is\(\s*"([^"]+)"', source.read_text()))
    return found


def test_nothing_of_them_is_shipped(weakened_binary: Path) -> None:
    """The runtime that the package brings holds neither the variable nor a name of a protection."""
    traces = [b"PYD_WEAKENED", *(name.encode() for name in names())]
    assert len(traces) > 5
    shipped, weakened = Path(RUNTIME).read_bytes(), weakened_binary.read_bytes()
    assert [trace for trace in traces if trace in shipped] == []
    assert [trace for trace in traces if trace not in weakened] == [], "the control: it would be found"
