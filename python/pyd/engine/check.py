"""`system check`: the store verified, and put right where a pull can bring back what is taken away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyd.store import audit
from pyd.store.audit import Audit, Finding

__all__ = ["Audit", "Finding", "check", "repair"]

if TYPE_CHECKING:
    from pyd.engine.engine import Engine


def check(engine: Engine, *, quick: bool = False, deep: bool = False) -> Audit:
    """Changes nothing. `quick`: sizes only, contents are not read. `deep`: layers are unpacked again and
    compared, file by file.
    """
    return audit.audit(engine.store, quick=quick, deep=deep)


def repair(engine: Engine, found: Audit) -> Sequence[Finding]:
    """Those of the findings that are put right now."""
    return audit.repair(engine.store, found)
