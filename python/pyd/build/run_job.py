"""One RUN as the engine is to execute it: a value, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object  # nothing here is checked at run time


class SecretFile(Record):
    """Bytes that are a file in the container, read-only, and nowhere else once the job has ended."""

    target: str
    data: bytes
    mode: int
    uid: int
    gid: int


class RunJob(Record, kw_only=True):
    """lowers: directories, top first. mounts: entries of config.json, parents before children. env:
    "NAME=value"; may hold secrets, so it is written to nothing that stays. user: Docker's forms. insecure:
    all privileges.
    host: what of Docker's HostConfig the flags of the build have set (limits, ulimits, hosts, shm size).
    """

    lowers: list[str]
    upper: str
    work: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    mounts: tuple[Mapping[str, Any], ...] = ()
    secrets: tuple[SecretFile, ...] = ()
    network: str = "default"  # default, none, host
    insecure: bool = False
    interactive: bool = False  # the caller's terminal, for a shell
    host: Mapping[str, Any] = field(default_factory=dict)


class RunEnd(Record):
    exit_code: int
    oom_killed: bool = False


class Runner(Protocol):
    """Who executes jobs: the engine. Called from several threads."""

    def run(self, job: RunJob, write: Callable[[int, bytes], None]) -> RunEnd:
        """To its end. `write` gets its output (1: stdout, 2: stderr). Raises StartError when it could not be
        started.
        """

    def cancel(self) -> None:
        """Every job that runs is to end now, and none is to start any more."""
