"""docs/security.md names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent


def rows() -> list[list[str]]:
    """The cells of the table's rows, without the heading."""
    text = (TOP / "docs/security.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 4, row
    assert row[2] and (row[3] or row[2].startswith("later: ")), (
        "a row has a test and a control, or says why not"
    )
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[2] + row[3]):
        assert (TOP / path).is_file(), path
        assert name in functions_of(TOP / path), f"{path} has no {name}"
