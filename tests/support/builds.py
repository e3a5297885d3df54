"""Builds in the tests' own process, with everything that their watcher was told."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyd import Engine
from pyd.build.events import Step, Watcher
from pyd.build.request import BuildRequest
from pyd.build.result import BuildResult


@dataclass
class Told(Watcher):
    """`steps`: instructions in the order in which they began. Times are seconds."""

    steps: list[str] = field(default_factory=list)
    cached_steps: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    output: bytes = b""
    warnings: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    finished: int = 0

    def begins(self, step: Step) -> None:
        with self.lock:
            if step.instruction:
                self.steps.append(step.instruction)
            self.spans[step.instruction] = (time.monotonic(), 0.0)

    def cached(self, step: Step) -> None:
        with self.lock:
            self.cached_steps.append(step.instruction)

    def explains(self, step: Step, reason: str) -> None:
        with self.lock:
            self.reasons[step.instruction] = reason

    def writes(self, step: Step, stream: int, data: bytes) -> None:
        with self.lock:
            self.output += data

    def warns(self, text: str, line: int = 0) -> None:
        self.warnings.append(text)

    def ends(self, step: Step, error: BaseException | None = None) -> None:
        with self.lock:
            self.spans[step.instruction] = (self.spans[step.instruction][0], time.monotonic())
            if error is not None:
                self.errors[step.instruction] = error

    def finishes(self) -> None:
        self.finished += 1

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")

    @property
    def done(self) -> list[str]:
        """Instructions that were executed."""
        return [step for step in self.steps if step in self.reasons]


@dataclass
class Built:
    result: BuildResult
    told: Told

    @property
    def id(self) -> str:
        return self.result.id


class Builder:
    """A context, and builds of it. `image`: what `FROM base` is rewritten to."""

    def __init__(self, engine: Engine, directory: Path, image: str) -> None:
        self.engine = engine
        self.directory = directory
        self.image = image

    def write(self, path: str, text: str | bytes = "", mode: int = 0o644) -> Path:
        place = self.directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)
        return place

    def request(self, dockerfile: str, **options: Any) -> BuildRequest:
        text = dockerfile.replace("FROM busybox", f"FROM {self.image}")
        context = options.pop("context", str(self.directory))
        return BuildRequest(context=context, text=text.encode(), **options)

    def build(self, dockerfile: str, *, told: Told | None = None, **options: Any) -> Built:
        told = told or Told()
        return Built(self.engine.build(self.request(dockerfile, **options), told), told)

    def run(self, image: str, *command: str, **options: Any) -> str:
        """What the command writes in a container of the image."""
        done = self.engine.run(image, list(command), network="none", **options)
        assert done.exit_code == 0, done
        return done.stdout.decode()
