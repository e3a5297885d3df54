"""What all stages and platforms of one build share."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping

from pyd.build.events import Step, Watcher
from pyd.build.failure import BuildFailed
from pyd.errors import Cancelled, PydError
from pyd.record import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.files import Tree
    from pyd.build.images import Images
    from pyd.build.kinds import Instruction, Script
    from pyd.build.parser import Dockerfile
    from pyd.build.request import BuildRequest
    from pyd.build.run_job import Runner
    from pyd.build.scratch import Scratch
    from pyd.build.secrets import Secrets
    from pyd.build.ssh import Ssh
    from pyd.build.steps import Steps
    from pyd.store import Store


class Build(Record, kw_only=True):
    """identity: what names the context; steps of one identity are compared when a miss is explained.
    named: what `--build-context` gave, directories as trees, images as references ("docker-image://…").
    allowed: entitlements (network.host, security.insecure).
    """

    store: Store
    request: BuildRequest
    dockerfile: Dockerfile
    script: Script
    identity: str
    context: Tree
    named: Mapping[str, Tree | str]
    images: Images
    runner: Runner
    watcher: Watcher
    steps: Steps
    secrets: Secrets
    ssh: Ssh
    epoch: int
    scratch: Scratch
    remote: tuple[str, str] | None = None  # (URL, commit or digest) of a context that is no directory
    allowed: frozenset[str] = frozenset()
    materials: list[tuple[str, str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(
        self, name: str, *, stage: str = "", instruction: str = "", line: int = 0, platform: str = ""
    ) -> Step:
        return Step(next(self._ids), name, stage, instruction, line, platform)

    def check(self) -> None:
        """Raises Cancelled when the build is over for another reason."""
        if self.stopped.is_set():
            raise Cancelled("the build was cancelled")

    def stop(self) -> None:
        """No step starts any more, and those that run end."""
        self.stopped.set()
        self.runner.cancel()

    def uses(self, what: str, digest: str) -> None:
        """Note a source that took part, for provenance."""
        with self._lock:
            if (what, digest) not in self.materials:
                self.materials.append((what, digest))

    def failure(self, error: PydError, step: Step, instruction: Instruction | None) -> BuildFailed:
        """The error of a step, with its place."""
        location = instruction.location if instruction is not None else None
        return BuildFailed(
            error.message,
            error.hint,
            step=step,
            dockerfile=self.dockerfile.name,
            line=location.line if location else 0,
            end_line=location.end_line if location else 0,
            cause=error,
        )
