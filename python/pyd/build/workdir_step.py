"""WORKDIR: makes its directory where the image does not have it, for the user that is set by then."""

from __future__ import annotations

import posixpath

from pyd import _native
from pyd.build import layers
from pyd.build.events import Step
from pyd.build.kinds import Workdir
from pyd.build.result import State
from pyd.build.steps import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyd.build.stage import StageJob


def do(job: StageJob, state: State, instruction: Workdir, step: Step) -> tuple[Outcome, str]:
    build = job.build
    path = absolute(state, instruction.path)
    structure = {
        "kind": "WORKDIR",
        "parent": state.chain_id,
        "path": path,
        "user": state.config.get("User") or "",
        "epoch": build.epoch,
    }

    def execute() -> Outcome:
        if path == "/":
            return Outcome(None, {})
        from pyd.runtime import users
        from pyd.runtime.layered import LayeredRoot

        below = layers.lowers(build.store, state)
        owner = users.resolve(state.config.get("User") or "", LayeredRoot(below))
        with layers.upper(build.store) as made:
            _native.make_directory(
                path,
                lowers=below,
                upper=made.fs,
                work=made.work,
                uid=owner.uid,
                gid=owner.gid,
                mode=0o755,
                epoch=build.epoch,
            )
            return Outcome(layers.publish(build.store, made, state, epoch=build.epoch), {})

    return build.steps.do(
        step,
        job.place("WORKDIR"),
        state,
        lambda: structure,
        execute,
        fresh=job.fresh,
        below_reason=job.reason,
    )


def absolute(state: State, path: str) -> str:
    """A path of an instruction, from the working directory of the stage; without a slash at its end."""
    joined = posixpath.join("/", state.config.get("WorkingDir") or "/", path)
    return "/" + posixpath.normpath(joined).strip("/")
