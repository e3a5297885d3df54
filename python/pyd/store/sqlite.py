"""`sqlite3` without its adapters for dates, which import datetime: two milliseconds of each command."""

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
