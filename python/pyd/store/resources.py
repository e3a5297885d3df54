"""Volumes and networks as frozen values; apart from the containers, because few commands need them."""

from __future__ import annotations

from pyd.record import Record, field
from pyd.store.records import now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class VolumeRecord(Record):
    name: str
    driver: str = "local"
    created: str = field(default_factory=now)
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    anonymous: bool = False
    populated: bool = False


class NetworkRecord(Record):
    id: str  # 64 hex digits
    name: str
    driver: str = "bridge"
    created: str = field(default_factory=now)
    config: dict[str, Any] = field(default_factory=dict)
