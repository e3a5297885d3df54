"""What the store keeps, as frozen values. Times are RFC 3339 in UTC, nanoseconds as in Docker."""

from __future__ import annotations

import time

from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ZERO_TIME = "0001-01-01T00:00:00Z"  # Docker's "never"


def now() -> str:
    """The time now, as `2026-11-23T20:27:55.123456789Z`."""
    nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


class ContainerRecord(Record):
    """A container, running or not. `config` and `host` have the meaning of Docker's Config and HostConfig."""

    id: str  # 64 hex digits
    name: str  # without the slash
    image_ref: str = ""  # as the user wrote it
    image_id: str = ""  # sha256:.. ; "" for --rootfs
    layers: tuple[str, ...] = ()  # chainIDs of its read-only layers, top first
    volumes: tuple[str, ...] = ()  # names of the volumes that it uses
    config: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=now)
    state: str = "created"  # created running paused exited dead removing
    pid: int = 0
    shim_pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = False
    started_at: str = ZERO_TIME
    finished_at: str = ZERO_TIME
    restart_count: int = 0
    auto_remove: bool = False


class BlobRecord(Record):
    """A blob that an image keeps alive."""

    digest: str
    size: int  # bytes as stored
    media_type: str
