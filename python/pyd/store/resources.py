"""Volumes and networks as frozen values; apart from the containers, because few commands need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyd.store.records import now


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    name: str
    driver: str = "local"
    created: str = field(default_factory=now)
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    anonymous: bool = False
    populated: bool = False


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    id: str  # 64 hex digits
    name: str
    driver: str = "bridge"
    created: str = field(default_factory=now)
    config: dict[str, Any] = field(default_factory=dict)
