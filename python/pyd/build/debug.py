"""`--debug`: a shell where a RUN has failed, on the files and with the mounts and environment that it had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyd.build import layers
from pyd.build.events import Step
from pyd.build.result import State
from pyd.build.run_job import RunJob
from pyd.record import replace

if TYPE_CHECKING:
    from pyd.build.build import Build


def shell(build: Build, job: RunJob, state: State, step: Step) -> None:
    """What is written in it is thrown away. Does nothing without a terminal."""
    if not (os.isatty(0) and os.isatty(2)):
        build.watcher.warns("--debug opens a shell on a terminal only")
        return
    program = (state.config.get("Shell") or ["/bin/sh"])[0]
    with layers.upper(build.store) as made:
        build.watcher.interrupts(step, "a shell in the state before the step; leave it with exit")
        build.runner.run(
            replace(job, upper=made.fs, work=made.work, args=(program,), interactive=True),
            lambda stream, data: build.watcher.writes(step, stream, data),
        )
