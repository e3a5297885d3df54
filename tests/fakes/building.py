"""The command line with a fake engine: `python -m tests.fakes.building build .` shows a build of nothing.

FAKE_BUILD=fail lets its last step fail; FAKE_BUILD_SECONDS is what each step takes.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from pyd.build.events import Step, Watcher
from pyd.build.request import BuildRequest
from pyd.build.result import BuildResult
from pyd.cli.main import main
from pyd.engine.engine import Engine
from pyd.errors import PydError

ID = "sha256:" + "1a" * 32
asked: list[BuildRequest] = []  # what the fake was asked to build


class Failed(PydError):
    line = end_line = 2


def build(_: Engine, request: BuildRequest, watcher: Watcher | None = None) -> BuildResult:
    """In the place of Engine.build."""
    asked.append(request)
    watcher = watcher or Watcher()
    seconds = float(os.environ.get("FAKE_BUILD_SECONDS", "0"))
    watcher.reads("Dockerfile", ["FROM alpine", "RUN make"])
    for number, text in enumerate(("FROM alpine", "RUN make"), 1):
        step = Step(id=number, name=f"[{number}/2] {text}", instruction=text, line=number)
        watcher.begins(step)
        for count in range(10):
            watcher.writes(step, 1, f"line {count}\n".encode())
            time.sleep(seconds / 10)
        if number == 2 and os.environ.get("FAKE_BUILD") == "fail":
            error = Failed('process "/bin/sh -c make" did not complete successfully: exit code: 2', "look")
            watcher.ends(step, error)
            raise error
        watcher.ends(step)
    watcher.warns("StageNameCasing: Stage name 'A' should be lowercase", 1)
    watcher.finishes()
    metadata: dict[str, Any] = {"containerimage.config.digest": ID, "image.name": ",".join(request.tags)}
    return BuildResult(id=ID, metadata=metadata)


if __name__ == "__main__":
    Engine.build = build  # type: ignore[assignment,method-assign]
    sys.exit(main())
