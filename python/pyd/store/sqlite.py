"""`sqlite3` without its adapters for dates: they import datetime, for a millisecond of `run` and `exec`."""

from __future__ import annotations

from _sqlite3 import (
    Connection,
    Error,
    IntegrityError,
    OperationalError,
    Row,
    connect,
)

__all__ = ["Connection", "Error", "IntegrityError", "OperationalError", "Row", "connect"]
